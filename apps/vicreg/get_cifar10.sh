#!/usr/bin/env bash
# Downloads CIFAR-10 (binary version, 162 MB), verifies it, and unpacks it to
# DEST/cifar-10-batches-bin. What is already there is reused; a failure leaves nothing behind.
#
# usage: get_cifar10.sh DEST [--url URL] [--sha256 SUM]
# exit status: 0 done, 1 wrong use or unusable destination or archive, 3 could not download,
#              4 checksum mismatch, 5 disk full
set -euo pipefail

url=https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz
sha256=c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd
folder=cifar-10-batches-bin
files=(data_batch_1.bin data_batch_2.bin data_batch_3.bin data_batch_4.bin data_batch_5.bin
  test_batch.bin)

die() { # STATUS MESSAGE
  echo "get_cifar10: error: $2" >&2
  exit "$1"
}

usage() { die 1 "usage: get_cifar10.sh DEST [--url URL] [--sha256 SUM]"; }

missing_file() { # FOLDER: prints the first batch file that is not in it
  local file
  for file in "${files[@]}"; do
    [[ -f $1/$file ]] || { echo "$file" && return; }
  done
}

disk_full() { # whether less than 1 MiB is free at the destination
  local free
  free=$(df -Pk "$dest" | awk 'NR == 2 { print $4 }')
  [[ $free -lt 1024 ]]
}

download() { # FILE: fetches $url; returns the tool's status
  if command -v curl >/dev/null; then
    local progress=(--silent)
    [[ -t 2 ]] && progress=(--progress-bar)
    curl --fail --location "${progress[@]}" --connect-timeout 20 --speed-limit 1000 \
      --speed-time 60 --output "$1" "$url"
  elif command -v wget >/dev/null; then
    wget --quiet --timeout=60 --tries=2 --output-document="$1" "$url"
  else
    die 3 "neither curl nor wget is installed"
  fi
}

checksum() { # FILE
  if command -v sha256sum >/dev/null; then sha256sum "$1"; else shasum -a 256 "$1"; fi | cut -d' ' -f1
}

dest=
while [[ $# -gt 0 ]]; do
  case $1 in
    --url | --sha256)
      [[ $# -ge 2 ]] || usage
      [[ $1 == --url ]] && url=$2 || sha256=$2
      shift 2
      ;;
    -*) usage ;;
    *)
      [[ -z $dest ]] || usage
      dest=$1
      shift
      ;;
  esac
done
[[ -n $dest ]] || usage

if [[ -d $dest/$folder ]]; then
  missing=$(missing_file "$dest/$folder")
  [[ -z $missing ]] || die 1 "$dest/$folder has no $missing; move that folder away and try again"
  echo "get_cifar10: $dest/$folder is already there"
  exit 0
fi

mkdir -p "$dest" 2>/dev/null || die 1 "cannot create $dest"
work=$(mktemp -d "$dest/.cifar10-XXXXXX" 2>/dev/null) || die 1 "cannot write to $dest"
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

status=0
download "$work/archive.tar.gz" || status=$?
if [[ $status -ne 0 ]]; then
  disk_full && die 5 "disk full: $dest needs about 350 MB free"
  die 3 "could not download $url (is there a network?)"
fi

actual=$(checksum "$work/archive.tar.gz")
[[ $actual == "$sha256" ]] || die 4 "checksum mismatch: $url has sha256 $actual, expected $sha256"

if ! tar -C "$work" -xzf "$work/archive.tar.gz" 2>/dev/null; then
  disk_full && die 5 "disk full: $dest needs about 350 MB free"
  die 1 "cannot unpack the archive from $url"
fi
missing=$(missing_file "$work/$folder")
[[ -z $missing ]] || die 1 "the archive from $url has no $folder/$missing"

sync "$work/$folder"/*  # lest a power cut leave truncated files under the final name
# Another download may have been faster: mv would move this one into its folder.
[[ -d $dest/$folder ]] || mv "$work/$folder" "$dest/$folder" || die 1 "cannot write to $dest"
echo "get_cifar10: CIFAR-10 is in $dest/$folder"
