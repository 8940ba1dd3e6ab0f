# Source this before you run the bundle's programs: it puts CUDA's libraries on LD_LIBRARY_PATH,
# where this machine has them outside of the system's own folders.
# usage: source gradus/env.sh

# The folders in which a toolkit or a Python package keeps cuBLAS; the first one that has it is taken.
gradus_cuda_folder() {
  local python folder
  local folders=("${CUDA_HOME:-/usr/local/cuda}"/lib64 /usr/local/cuda*/lib64)
  python=$(command -v python3) && folders+=($("$python" -c '
import glob, site
for place in site.getsitepackages() + [site.getusersitepackages()]:
    print(*glob.glob(place + "/nvidia/*/lib"), sep="\n")' 2>/dev/null))
  for folder in "${folders[@]}"; do
    compgen -G "$folder/libcublas.so.*" >/dev/null && echo "$folder" && return
  done
}

if ! ldconfig -p 2>/dev/null | grep -q 'libcublas\.so'; then
  gradus_folder=$(gradus_cuda_folder)
  if [ -n "$gradus_folder" ]; then
    export GRADUS_LIBRARY_PATH_BEFORE=$LD_LIBRARY_PATH  # for programs that bring their own CUDA
    export LD_LIBRARY_PATH=$gradus_folder${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
  fi
fi
unset -f gradus_cuda_folder
unset gradus_folder
