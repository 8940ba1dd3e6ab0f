// Programs that run as several processes of one job.
#pragma once

#include <filesystem>
#include <functional>

#include <gradus/tensor/communicator.h>

namespace gradus::apps {

/// body(), where a launcher has started this process as one of several (`processes`; else null):
/// only the first one prints. What it throws is reported with the process's rank, and ends them
/// all.
int run_in_job(const char* program, Processes* processes, const std::function<int()>& body);

/// Before the first use of a GPU: where several processes share a machine, each gets one of its
/// `gpus` GPUs (0: as many as processes), or of those that CUDA_VISIBLE_DEVICES lists; neighbours
/// share one where there are fewer.
void choose_gpu(const Processes& processes, int gpus);
/// The same before there are Processes, by what the launcher says in the environment, if it does:
/// to make them, an MPI library may start CUDA, which looks at CUDA_VISIBLE_DEVICES only then.
void choose_gpu(int gpus);
/// The GPUs that the driver shows on this machine, below `root`; 0 where there is none.
int gpu_count(const std::filesystem::path& root = "/");

/// The threads for each of the processes on this machine where none of them is bound to a part of
/// its processors; 0 where that is so or there is one.
int threads_of_each(const Processes* processes);

}  // namespace gradus::apps
