// The page's sections, of the data that stands in it: one run in full, or several on top of each other.

const { runs } = JSON.parse(document.getElementById("data").textContent);
const main = document.querySelector("main");
const color = (i) => `var(--c${i % 8})`;
const percent = (share) => (share === null || share === undefined ? "–" : `${(100 * share).toFixed(1)} %`);
const last = (values) => (values ?? []).findLast((value) => value !== null);
const several = runs.length > 1;

function section(title, note, ...content) {
  main.append(element("section", {}, element("h2", {}, title), note ? element("p", { class: "quiet" }, note) : null, ...content));
}

function duration(seconds) {
  if (seconds === null) return "–";
  const [d, h, m, s] = [seconds / 86400, (seconds / 3600) % 24, (seconds / 60) % 60, seconds % 60].map(Math.floor);
  return d ? `${d} d ${h} h` : h ? `${h} h ${m} min` : m ? `${m} min ${s} s` : `${s} s`;
}

/// The options of a config.toml: [{key, value, help}]; a comment line stands before its option.
function parseOptions(toml) {
  const options = [];
  let help = "";
  for (const line of toml.split("\n")) {
    const equals = line.indexOf("=");
    if (line.startsWith("#")) help = line.slice(1).trim();
    else if (equals > 0) {
      options.push({ key: line.slice(0, equals).trim(), value: line.slice(equals + 1).trim(), help });
      help = "";
    }
  }
  return options;
}

/// Curves over the steps, of every run that has them: one a run, or several of one run by `keys`.
function stepSeries(key, label, scale = 1) {
  const scaled = (values) => scale === 1 ? values : values?.map((value) => (value === null ? null : Math.round(100 * value * scale) / 100));
  return runs.flatMap(({ name, steps }, r) => steps[key] ? [{
    label: several ? name : label, color: color(r), x: steps.step,
    mean: scaled(steps[key].mean), low: scaled(steps[key].low), high: scaled(steps[key].high),
  }] : []);
}

/// The same over the epochs; the second and further curves of a run are dashed where colours tell runs apart.
function epochSeries(keys, scale = 1) {
  return runs.flatMap(({ name, epoch_values: values }, r) => keys.flatMap(([key, label], k) => values[key] ? [{
    label: several ? `${name}: ${label}` : label, color: color(several ? r : k), dashed: several && k > 0, x: values.epoch,
    mean: values[key].map((value) => (value === null ? null : value * scale)),
  }] : []));
}

function header() {
  const title = several ? `${runs.length} runs compared` : `Run ${runs[0].name}`;
  document.title = title;
  main.append(element("h1", {}, title));
  if (several) return;
  const run = runs[0];
  const epoch = last(run.epoch_values.epoch) ?? 0;
  main.append(element("p", { class: "quiet" },
    `${epoch} of ${run.epochs} epochs · ${run.steps_done.toLocaleString("en")} steps · ${duration(run.seconds)} of training · written ${run.updated}`));
  main.append(element("div", { class: `card verdict ${run.health.verdict}` },
    element("b", {}, {
      healthy: "Healthy", doubtful: "Doubtful", warning: "Something is wrong", unknown: "Not known yet",
    }[run.health.verdict]),
    element("p", {}, run.health.text)));
  const tile = (title, value, note) => value === undefined || value === null || value === "–" ? null
    : element("div", { class: "card tile" },
      element("span", { class: "quiet" }, title), element("b", {}, value), element("span", { class: "quiet" }, note));
  const loss = run.steps.loss?.mean ?? [], { linear, knn } = run.evaluation ?? {}, judged = evaluated(run);
  const recent = (key) => {  // the mean of the last tenth
    const values = run.steps[key].mean.filter((value) => value !== null), some = values.slice(Math.floor(0.9 * values.length));
    return some.length ? some.reduce((a, b) => a + b) / some.length : null;
  };
  const wait = recent("data_wait_share"), speed = recent("images_per_second");
  const interval = ({ top1_interval_95: bounds }) =>
    `of test images (95 % interval ${bounds.map((share) => (100 * share).toFixed(1)).join(" to ")})`;
  main.append(element("div", { class: "tiles" },
    tile("Loss", loss.length ? format(last(loss)) : null, `at first ${format(loss[0])}`),
    ...accuracyKeys().map(([key, label]) => tile(`${label}, last measured`, percent(last(run.epoch_values[key])), "of test images")),
    linear ? tile(`Linear evaluation${judged}`, percent(linear.top1), interval(linear)) : null,
    knn ? tile(`kNN evaluation${judged}`, percent(knn.top1), interval(knn)) : null,
    tile("Embedding std", last(run.epoch_values.std_mean)?.toFixed(2), "near 1 is healthy"),
    tile("Effective rank", last(run.epoch_values.effective_rank)?.toFixed(1), `of at most ${run.health.most_rank}`),
    tile("Speed", speed === null ? null : format(Math.round(speed)), `images/s; waits for data ${percent(wait)} of the time`)));
}

/// ", after step N" where linear_eval judged an earlier state of the run than its last.
function evaluated({ evaluation, steps_done: done }) {
  const step = evaluation?.step ?? done;
  return step === done ? "" : `, after step ${step.toLocaleString("en")}`;
}

/// What the epochs' records say of accuracy: [[key, label]].
function accuracyKeys() {
  const keys = new Set(runs.flatMap((run) => Object.keys(run.epoch_values).filter((key) => /accuracy$|^probe/.test(key))));
  const names = { knn_accuracy: "kNN", probe_test: "online probe" };
  return [...keys].map((key) => [key, names[key] ?? key.replaceAll("_", " ")]);
}

function accuracyChart() {
  const classes = runs[0].training?.classes, limits = [];
  if (classes) limits.push({ value: 100 / classes, label: `guessing: ${format(100 / classes)} %` });
  const linear = several ? null : runs[0].evaluation?.linear;
  if (linear) limits.push({ value: 100 * linear.top1, label: `linear evaluation${evaluated(runs[0])}: ${percent(linear.top1)}` });
  return lineChart({
    title: "Accuracy of test images, %", xLabel: "epoch", series: epochSeries(accuracyKeys(), 100), limits,
    include: [0, ...limits.map(({ value }) => value)],
    note: "How many test images are classified correctly from the features. It should rise.",
    empty: "Not measured. --knn-every 1 measures kNN after each epoch.",
  });
}

function curves() {
  const notes = {
    loss: "What is minimised. It should fall, fast at first, then slowly.",
    invariance: "How far apart the embeddings of two views of an image are. Near 0 at once, with a low std, is a collapse.",
    variance: "How far the embeddings' std falls short of 1. It should approach 0.",
    covariance: "How much dimensions repeat each other. It should fall.",
    similarity: "How alike the views of an image are embedded. It should rise towards 1.",
    coding_rate: "How much room the embeddings take. It should rise.",
  };
  const terms = new Map(runs.flatMap((run) => run.steps.terms).map(({ key, title }) => [key, title]));
  section("Training", "The band behind a curve is the range of the values averaged. Point at a curve for its values.",
    element("div", { class: "grid" },
      ...[...terms].map(([key, title]) => lineChart({ title, xLabel: "step", series: stepSeries(key, title), note: notes[key] })),
      ...(runs.some((run) => run.steps.probe_train) ? [lineChart({
        title: "Online probe's accuracy of training batches, %", xLabel: "step", series: stepSeries("probe_train", "online probe", 100),
      })] : []),
      lineChart({ title: "Learning rate", xLabel: "step", series: stepSeries("lr", "learning rate"), include: [0] }),
      lineChart({ title: "Speed, images/s", xLabel: "step", series: stepSeries("images_per_second", "images/s"), include: [0] }),
      lineChart({
        title: "Waiting for data, % of a step", xLabel: "step", series: stepSeries("data_wait_share", "waiting", 100), include: [0],
        note: "More than a few percent: give it more --workers.",
      })));
}

function health() {
  const { health: limits } = runs[0];
  section("Are the embeddings healthy?", "Measured on the last batch of each epoch. In the shaded zone they have collapsed.",
    element("div", { class: "grid" },
      lineChart({
        title: "Embedding std", xLabel: "epoch", series: epochSeries([["std_mean", "mean"], ["std_min", "least"]]), include: [0, 1.05],
        limits: [{ value: limits.std, label: `collapse: below ${limits.std}`, bad: true }, { value: 1, label: "healthy: near 1" }],
        note: "How much an embedding's dimensions vary between images. Near 0 all images are mapped to one point; " +
          "a least value of 0 is a dimension without information.",
      }),
      lineChart({
        title: "Effective rank", xLabel: "epoch", series: epochSeries([["effective_rank", "rank"]]),
        include: several ? [0] : [0, limits.most_rank],
        limits: several ? [] : [{ value: limits.rank, label: `collapse: below ${format(limits.rank)}`, bad: true },
          { value: limits.most_rank, label: `most possible: ${limits.most_rank}` }],
        note: "About how many directions the embeddings use (RankMe). Higher keeps more of what tells images apart.",
      }),
      accuracyChart()));
}

function views() {
  const { pictures } = runs[0].training ?? {};
  if (!pictures) return;
  nameSheet(pictures.sheet, "views");
  const { images, views: count, labels } = pictures;
  const rows = Array.from({ length: images }, (_, i) => strip(labels[i] ?? `image ${i + 1}`, Array.from({ length: count + 1 }, (_, v) =>
    [picture(pictures.sheet, v * images + i, count > 2 ? 56 : 84), v ? `view ${v}` : "image"])));
  const pixels = (size) => `${size[1]}×${size[0]}`;
  section("What is trained on", `Images (${pixels(pictures.image_size)} pixels) and their views (${pixels(pictures.view_size)}) in epoch ` +
    `${pictures.epoch}. The views of an image are pulled together: a person should still see the same thing in them.`,
    element("div", { class: "card strips" }, ...rows));
}

/// The accuracies of all that linear_eval judged: [[what, result]].
function results(evaluation) {
  const kinds = [["", evaluation], ["whitened features: ", evaluation.whitened], [`${evaluation.crops?.views} crops: `, evaluation.crops],
    [`${evaluation.crops?.views} crops, whitened: `, evaluation.crops?.whitened]];
  return kinds.flatMap(([kind, part]) => [["linear", part?.linear], ["kNN", part?.knn]]
    .filter(([, result]) => result).map(([name, result]) => [kind + name, result]));
}

function table(head, rows) {
  const cell = (content) => content instanceof Node ? content : element("td", /^[\d–]/.test(content) ? { class: "number" } : {}, content);
  const title = (content) => content instanceof Node ? content : element("th", {}, content);
  return element("div", { class: "scroll" }, element("table", {}, element("tr", {}, ...head.map(title)),
    ...rows.map((row) => element("tr", {}, ...row.map(cell)))));
}

function evaluation() {
  const { evaluation: found } = runs[0];
  if (!found) {
    section("Evaluation", "Not done yet: linear_eval puts a map of features, neighbours, confusions and mistakes here (the command is below).");
    return;
  }
  const best = found.linear ?? found.knn, classes = best.classes, pictures = { ...found.pictures };
  nameSheet(pictures.sheet, "tests");
  const order = classes.map((name, i) => [name, best.class_accuracy[name], i]).sort((a, b) => (b[1] ?? 0) - (a[1] ?? 0));
  const bars = element("div", { class: "card" }, element("h3", {}, "Accuracy by class"), element("div", { class: "scroll" },
    element("table", { style: "width:100%" }, ...order.map(([name, accuracy]) => element("tr", {}, element("td", {}, name),
      element("td", { style: "width:60%" }, element("div", { class: "bar", style: `width:${100 * (accuracy ?? 0)}%` })),
      element("td", { class: "number" }, percent(accuracy)))))));
  section("Evaluation", `Of ${found.encoder}${evaluated(runs[0])}, ${found.time}; ${best.images} test images.`,
    element("div", { class: "card" }, table(["features and classifier", "top-1", "95 % interval", "top-5"],
      results(found).map(([name, r]) => [name, percent(r.top1), r.top1_interval_95.map(percent).join(" to "), percent(r.top5)]))),
    element("div", { class: "grid wide", style: "margin-top:12px" }, featureMap(pictures), confusionMatrix(best.confusion, classes), bars,
      mistakes(pictures)), neighbours(pictures));
}

function neighbours({ neighbours: rows, map, classes, sheet }) {
  return element("div", { class: "card", style: "margin-top:12px" }, element("h3", {}, "Nearest training images"),
    element("p", { class: "quiet" }, "First a test image, then the training images that the encoder finds " +
      "most alike; with a green rim: of the same class."),
    element("div", { class: "strips" }, ...rows.map((row, i) => strip(classes[map.labels[i]], [[picture(sheet, i, 44)],
      ...row.map(({ picture: index, label, similarity }) => {
        const shown = picture(sheet, index, 36, label === map.labels[i] ? "good" : "bad");
        shown.onpointermove = (event) => showTip(event, picture(sheet, index, 96), element("b", {}, classes[label]),
          element("div", { class: "quiet" }, `cosine similarity ${similarity}`));
        shown.onpointerleave = hideTip;
        return [shown];
      })]))));
}

function mistakes({ mistakes: list, classes, sheet }) {
  return element("div", { class: "card" }, element("h3", {}, "Worst mistakes"),
    element("p", { class: "quiet" }, "Test images whose wrong class had the largest lead over the true one: the " +
      "true class, then what they were taken for."),
    element("div", { class: "gallery" }, ...list.map(({ picture: index, label, predicted }) =>
      element("div", {}, picture(sheet, index, 88), element("b", {}, classes[label]), ` → ${classes[predicted]}`))));
}

function configuration() {
  const run = runs[0], defaults = new Map(parseOptions(run.defaults).map(({ key, value }) => [key, value]));
  const options = parseOptions(run.config), changed = ({ key, value }) => defaults.get(key) !== value;
  const row = (option) => [element("td", {}, option.key),
    element("td", { class: changed(option) ? "value changed" : "value" }, option.value), element("td", { class: "quiet" }, option.help)];
  const head = ["option", "value", "meaning"];
  section("How it was made", null, element("div", { class: "card" },
    element("h3", {}, "Commands"),
    ...run.commands.flatMap(({ title, text }) => [element("p", { class: "quiet" }, title), element("code", {}, text)])),
  element("div", { class: "card", style: "margin-top:12px" }, element("h3", {}, "Machine"), run.training
    ? table(["", ""], Object.entries(run.training.machine).map(([key, value]) => [key, element("td", {}, String(value))]))
    : element("p", { class: "quiet" }, "not known")),
  element("div", { class: "card", style: "margin-top:12px" }, element("h3", {}, "Options that differ from the recipe's defaults"),
    table(head, options.filter(changed).map(row)),
    element("details", {}, element("summary", {}, `all ${options.length} options`), table(head, options.map(row)))));
}

function comparison() {
  const names = runs.map(({ name }, i) => element("th", {}, element("span", { style: `color:${color(i)}` }, "■ "), name));
  const values = (title, value) => [title, ...runs.map((run) => value(run) ?? "–")];
  const judgedIn = (run) => Object.fromEntries(run.evaluation ? results(run.evaluation) : []);
  const judged = new Set(runs.flatMap((run) => Object.keys(judgedIn(run))));
  section("Results", "Where linear_eval was run, its accuracies of test images.", element("div", { class: "card" }, table(["", ...names], [
    values("state", (run) => element("td", {}, run.health.verdict)),
    values("epochs done", (run) => format(last(run.epoch_values.epoch) ?? 0)),
    values("training time", (run) => duration(run.seconds)),
    values("last loss", (run) => format(last(run.steps.loss?.mean))),
    ...accuracyKeys().map(([key, label]) => values(`${label}, last measured`, (run) => percent(last(run.epoch_values[key])))),
    values("steps when evaluated", (run) => run.evaluation ? format(run.evaluation.step ?? run.steps_done) : "–"),
    ...[...judged].map((name) => values(name, (run) => percent(judgedIn(run)[name]?.top1))),
  ])));
  const options = runs.map((run) => new Map(parseOptions(run.config).map(({ key, value }) => [key, value])));
  const differs = (key) => new Set(options.map((map) => map.get(key))).size > 1;
  const keys = [...new Set(options.flatMap((map) => [...map.keys()]))].filter(differs);
  section("Options that differ", keys.length ? null : "None.", element("div", { class: "card" },
    table(["option", ...names.map((name) => name.cloneNode(true))],
      keys.map((key) => [key, ...options.map((map) => element("td", { class: "value" }, map.get(key) ?? "–"))]))));
}

header();
if (several) comparison();
else health();
curves();
if (several) health();
else {
  views();
  evaluation();
  configuration();
}
redraws.forEach((redraw) => redraw());
