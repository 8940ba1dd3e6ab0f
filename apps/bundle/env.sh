# Source this before you run the bundle's programs: it puts CUDA's libraries on LD_LIBRARY_PATH,
# where this machine has them outside of the system's own folders.
# usage: source gradus/env.sh

# The folders in which a toolkit or a Python package keeps cuBLAS or NCCL; the first one that has it
# is taken.
gradus_cuda_folder() { # LIBRARY
  local python folder
  local folders=("${CUDA_HOME:-/usr/local/cuda}"/lib64 /usr/local/cuda*/lib64)
  python=$(command -v python3) && folders+=($("$python" -c '
import glob, site
for place in site.getsitepackages() + [site.getusersitepackages()]:
    print(*glob.glob(place + "/nvidia/*/lib"), sep="\n")' 2>/dev/null || true))
  for folder in "${folders[@]}"; do
    compgen -G "$folder/$1.so.*" >/dev/null && echo "$folder" && return
  done
}

gradus_before=${LD_LIBRARY_PATH:-}
for gradus_library in libcublas libnccl; do
  ldconfig -p 2>/dev/null | grep -q "$gradus_library\.so" && continue
  gradus_folder=$(gradus_cuda_folder $gradus_library || true)
  [ -n "$gradus_folder" ] || continue
  case :${LD_LIBRARY_PATH:-}: in *:"$gradus_folder":*) continue ;; esac
  export GRADUS_LIBRARY_PATH_BEFORE=$gradus_before # for programs that bring their own CUDA
  export LD_LIBRARY_PATH=$gradus_folder${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
done
unset -f gradus_cuda_folder
unset gradus_before gradus_library gradus_folder
