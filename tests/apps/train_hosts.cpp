// One job on two hosts, over TCP. The hosts are network namespaces of this machine, which root may
// make, with two links between them: one of mpirun and its daemons, and one of what the processes
// exchange.
#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>

#include "tests/apps/jobs.h"
#include "vicreg/metrics.h"

namespace {

using namespace gradus::test;
namespace fs = std::filesystem;

bool ip(const std::string& arguments) {
  return run_command("/bin/sh", {"-c", "exec ip " + arguments}).exit_code == 0;
}

enum Link { launcher, messages };

/// Hosts 1 and 2.
class Hosts {
 public:
  Hosts() {
    works_ = ip("netns add " + name(1)) && ip("netns add " + name(2));
    for (const int link : {launcher, messages}) {
      works_ = works_ && ip(fmt::format("-n {} link add link{} type veth peer name link{} netns {}",
                                        name(1), link, link, name(2)));
      for (const int host : {1, 2})
        works_ = works_ && ip(fmt::format("-n {} link set lo up", name(host))) &&
                 ip(fmt::format("-n {} addr add {}/24 dev link{}", name(host), address(link, host),
                                link)) &&
                 ip(fmt::format("-n {} link set link{} up", name(host), link));
    }
    // In the place of ssh. Open MPI tells hosts apart by their names, too.
    write_text(agent(), fmt::format("#!/bin/sh\nhost=${{1##*.}}; shift\nexec ip netns exec {}$host "
                                    "unshare --uts sh -c \"hostname host$host; $*\"\n",
                                    name()));
    ::chmod(agent().c_str(), 0700);
  }
  ~Hosts() {
    for (const int host : {1, 2}) ip("netns del " + name(host));
  }

  /// Whether a job can run on them; says what is missing.
  bool work() const {
    if (!works_)
      MESSAGE("skipped: no network namespaces can be made here (root can, with iproute2)");
    else if (!contains(run_command(mpiexec(), {"--version"}).output, "open-mpi.org"))
      MESSAGE("skipped: mpiexec is not Open MPI's");
    else
      return true;
    return false;
  }

  void cut(Link link) const { CHECK(ip(fmt::format("-n {} link set link{} down", name(1), link))); }

  /// `train`, in four processes, with mpirun's settings for TCP that tensor/comm/README.md advises.
  CommandResult train(const fs::path& out, const Arguments& arguments) const {
    const std::string first = address(launcher, 1), second = address(launcher, 2);
    Arguments command{first, "exec", mpiexec(), "-n", "4", "--host", first + ":2," + second + ":2"};
    const std::vector<Arguments> settings{{"plm_rsh_agent", agent()},
                                          {"btl", "tcp,self"},
                                          {"btl_tcp_if_include", address(messages, 0) + "/24"},
                                          {"oob_tcp_if_include", address(launcher, 0) + "/24"},
                                          {"oob_tcp_keepalive_time", "4"},
                                          {"oob_tcp_keepalive_intvl", "2"},
                                          {"oob_tcp_keepalive_probes", "4"}};
    for (const Arguments& setting : settings) command = command + Arguments{"--mca"} + setting;
    return run_command(agent(), command + tiny_train(out, arguments),
                       {.environment = job_environment});
  }

 private:
  static std::string name() { return fmt::format("gradus-{}-", ::getpid()); }
  static std::string name(int host) { return name() + std::to_string(host); }
  static std::string address(int link, int host) { return fmt::format("10.77.{}.{}", link, host); }
  std::string agent() const { return folder_ / "agent"; }

  TempFolder folder_;
  bool works_ = false;
};

/// Cuts links in the middle of a job of four processes. It must end soon, all of it, with nothing
/// half-written; --resume, in `resumed` processes, goes on to the bytes of a run of `whole` that
/// nothing happened to.
CommandResult cut_job(const Hosts& hosts, const std::vector<Link>& links, int resumed, int whole,
                      const Arguments& run) {
  using Clock = std::chrono::steady_clock;
  const TempFolder folder;
  const fs::path out = folder / "cut";
  CommandResult result;
  Clock::time_point end;
  std::jthread job([&] {
    result = hosts.train(out, run + Arguments{"--steps", "100000"});
    end = Clock::now();
  });
  wait_until([&] { return fs::exists(out / "checkpoint.safetensors"); });
  CHECK(processes_of_job(out).size() == 4);
  const Clock::time_point begin = Clock::now();
  for (const Link link : links) hosts.cut(link);
  job.join();
  const auto seconds = [&](Clock::time_point until) {
    return std::chrono::duration<double>(until - begin).count();
  };
  MESSAGE("from the cut to the end of mpirun: ", seconds(end), " s");
  wait_until([&] { return processes_of_job(out).empty(); });
  const double all_ended = seconds(Clock::now());
  MESSAGE("and to that of the last process: ", all_ended, " s");
  INFO("output: ", result.output);
  CHECK(result.exit_code != 0);
  CHECK(all_ended < 30);
  check_nothing_half_written(out);
  const auto last = gradus::vicreg::read_metrics(out / "metrics.jsonl").steps.back().step;
  const Arguments longer = run + Arguments{"--steps", std::to_string(last + 3)};
  CHECK(train_whole(resumed, out, longer + Arguments{"--resume"}) ==
        train_whole(whole, folder / "whole", longer));
  return result;
}

const Arguments four_shards{"--shards", "4", "--checkpoint-every", "3"};

}  // namespace

TEST_SUITE_BEGIN("hosts" * doctest::skip(!has_mpiexec()));

TEST_CASE("two hosts give the bytes of one process; a lost connection ends the job") {
  const Hosts hosts;
  if (!hosts.work()) return;
  const TempFolder folder;
  const Arguments run{"--shards", "4", "--steps", "4"};
  const CommandResult result = hosts.train(folder / "four", run);
  INFO("output: ", result.output);
  REQUIRE(result.exit_code == 0);
  CHECK(checkpoint_bytes(folder / "four") == train_whole(1, folder / "one", run));
  // mpirun still has its own connection.
  check_job_refused(cut_job(hosts, {messages}, 2, 1, four_shards),
                    {"process 0", "nothing heard of process ", "is the connection lost?"});
}

TEST_SUITE_END();

TEST_SUITE_BEGIN("emulated processes" * doctest::skip(!has_mpiexec()));

TEST_CASE("a connection that is lost while a GPU waits for it ends the job, too") {
  const Hosts hosts;
  if (!hosts.work()) return;
  const Arguments run{"--device", "cuda", "--shards", "4", "--checkpoint-every", "1"};
  CHECK(contains(cut_job(hosts, {messages}, 4, 4, run).output,
                 "error: process 0: [processes] nothing heard of process "));
}

TEST_SUITE_END();

TEST_SUITE_BEGIN("long hosts" * doctest::skip(!has_mpiexec()));

TEST_CASE("a host that is cut off altogether ends the job on both") {
  const Hosts hosts;
  if (!hosts.work()) return;
  CHECK(contains(cut_job(hosts, {messages, launcher}, 2, 1, four_shards).output,
                 "lost communication with a remote daemon"));
}

TEST_SUITE_END();
