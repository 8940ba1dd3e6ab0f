"""The last parts of gpu_check: training until the time is up, then evaluation."""
import json
import shutil
import time
from dataclasses import dataclass

from runner import json_lines_of

KEPT = ["metrics.jsonl", "report.html"]
EVALUATION_SHARE = 0.2  # of the time; also for what the estimate leaves out


@dataclass
class Recipe:
    """How to train, and to evaluate."""
    name: str  # of the run's folder
    text: str
    options: list
    most_epochs: int
    evaluation: list


def train(part, settings, runner, until):
    """VICReg on two views of each image."""
    options = ["--batch-size", settings.batch, "--lr", "1e-3", "--schedule", "cosine"]
    run_recipe(part, settings, runner, until,
               Recipe("training", f"batch {settings.batch}, Adam 1e-3, cosine", options, 10**6,
                      ["--protocol", "vicreg", "--cached", "--crops", 0]))


def many_views(part, settings, runner, until):
    """EMP-SSL's recipe: at most its 30 epochs. Both kinds of features are evaluated, those of crops
    with as many of them as its paper takes, in bfloat16: in float32 they would take minutes."""
    options = ["--recipe", "emp-ssl"]
    crops = 128
    if settings.small:
        options, crops = [*options, "--batch-size", settings.batch, "--views", 3], 2
    run_recipe(part, settings, runner, until,
               Recipe("views", "the recipe emp-ssl", options, 30,
                      ["--protocol", "vicreg", "--cached", "--crops", crops, "--bf16"]))


def run_recipe(part, settings, runner, until, recipe):
    """First some steps, which tell the speed; then as many epochs as fit, with a schedule that ends
    with them; then kNN and a linear classifier on the frozen features."""
    data = data_options(part, settings)
    program = settings.program("apps/vicreg/train")
    images = 6 * settings.batch if settings.small else 50000
    common = [*data, *recipe.options, "--device", "cuda", "--bf16"]
    if settings.small:
        common += ["--limit", images, "--width", 4, "--projector", "16,16", "--knn-images", 64]
    probe = settings.work / "probe"
    steps = 4 if settings.small else 80
    result = runner.run(f"{recipe.name}_probe", [program, *common, "--steps", steps, "--epochs", 10, "--out", probe],
                        until - time.monotonic())
    if not result.ok:
        part.fail(f"the first steps: {result.reason()}")
        return
    rates = sorted(record["images_per_second"] for record in json_lines_of(probe / "metrics.jsonl")
                   if "images_per_second" in record)
    if not rates:
        part.fail("the first steps recorded no speed")
        return
    rate = rates[len(rates) // 2]
    shutil.rmtree(probe)

    left = until - time.monotonic()
    overhead = 0 if settings.small else 4  # the start, and reading the data
    epochs = max(1, int(((1 - EVALUATION_SHARE) * left - overhead) * rate / images))
    epochs = min(epochs, recipe.most_epochs)
    if settings.small:
        epochs = min(epochs, 2)
    knn_every = max(1, epochs // 4)
    run = settings.out / recipe.name
    shutil.rmtree(run, ignore_errors=True)  # of a check before
    result = runner.run(recipe.name, [program, *common, "--epochs", epochs, "--knn-every", knn_every,
                                  "--checkpoint-every", 10**9, "--out", run], 0.9 * left)
    seconds = result.seconds
    if not result.ok:
        part.fail(f"training: {result.reason()}")
    summary = describe(run / "metrics.jsonl")
    part.data.update(rate=rate, epochs=epochs, seconds=seconds, **summary)
    part.text(f"bf16, {recipe.text} over {epochs} epochs of {images} images: "
              f"{seconds:.0f} s, {rate:,.0f} images/s. {settings.data_note}")
    part.table(["epoch", "loss", "embedding std", "effective rank", "kNN %"], summary["epochs_table"])
    evaluate(part, settings, runner, until, run, [*data, *recipe.evaluation])
    for path in run.glob("*"):
        if path.name not in KEPT:
            path.unlink()


def data_options(part, settings):
    """Options of both programs for the data."""
    if settings.prepared:
        result = settings.prepared.result()
        if not result.ok:
            part.fail(f"--prepare: {result.reason()}")
    settings.check_data(part)
    return ["--data", settings.data] if settings.data else ["--dataset", "synthetic"]


def describe(path):
    """The mean loss of each epoch and what was recorded at its end, of at most 12 epochs."""
    losses, ends, rows = {}, {}, []
    for record in json_lines_of(path):
        if "loss" in record:
            losses.setdefault(record["epoch"], []).append(record["loss"])
        elif "epoch" in record:
            ends.setdefault(record["epoch"], {}).update(record)
    every = max(1, len(ends) // 12)
    for i, end in enumerate(ends.values()):
        if i % every and i != len(ends) - 1 and not end.get("knn_accuracy"):
            continue
        loss = losses.get(end["epoch"], [float("nan")])
        knn = end.get("knn_accuracy")
        rows.append([end["epoch"], f"{sum(loss) / len(loss):.3f}", f"{end.get('std_mean', 0):.3f}",
                     f"{end.get('effective_rank', 0):.1f}", f"{100 * knn:.2f}" if knn else ""])
    return {"epochs_table": rows}


def evaluate(part, settings, runner, until, run, options):
    command = [settings.program("apps/vicreg/linear_eval"), run / "checkpoint.safetensors", *options, "--device",
               "cuda", "--knn", "--json", run / "evaluation.json"]
    if settings.small:
        command += ["--limit", 64, "--test-limit", 64, "--epochs", 2]
    result = runner.run(f"{run.name}_evaluation", command, until - time.monotonic())
    if not result.ok:
        part.fail(f"linear_eval: {result.reason()}")
        return
    try:
        part.data["evaluation"] = json.loads((run / "evaluation.json").read_text())
    except (OSError, ValueError) as error:
        part.fail(f"linear_eval left no figures: {error}")
    part.text("```\n" + "\n".join(line for line in result.output.splitlines() if "top-1" in line) + "\n```")
