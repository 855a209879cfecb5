# Sourced by scripts/test and scripts/demo: installs what they need, once, into .venv.
# shellcheck shell=bash
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

fail() {
  echo "Error: $*" >&2
  exit 5
}

find_python() {
  local candidate
  for candidate in python3 python3.13 python3.12 python3.11 python3.10; do
    if "$candidate" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  fail "no Python 3.10 to 3.13 found (python3 is $(python3 --version 2>&1)): install one"
}

# Debian packages whose programs are missing, one a line; $1 is the Python that makes .venv.
missing_packages() {
  command -v qemu-system-arm >/dev/null || echo qemu-system-arm
  command -v arm-none-eabi-gcc >/dev/null || echo gcc-arm-none-eabi
  case "$(arm-none-eabi-gcc -print-file-name=libm.a 2>/dev/null)" in
    */*) ;;
    *) echo libnewlib-arm-none-eabi ;;
  esac
  command -v g++ >/dev/null || echo g++
  command -v cc >/dev/null || printf '%s\n' gcc libc6-dev
  command -v make >/dev/null || echo make
  command -v cmake >/dev/null || echo cmake
  [ -x .venv/bin/pip ] || "$1" -c 'import ensurepip, venv' 2>/dev/null ||
    "$1" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'
}

install_packages() {
  local command="apt-get install -y --no-install-recommends $*"
  local root=()
  command -v apt-get >/dev/null || fail "missing here: $* (names of Debian). Install them and try again."
  if [ "$(id -u)" != 0 ]; then
    sudo -n true 2>/dev/null || fail "missing Debian packages. Run: sudo apt-get update && sudo $command"
    root=(sudo -n)
  fi
  echo "Installing Debian packages: $*"
  "${root[@]}" apt-get update -qq || fail "apt-get update failed. Run: sudo apt-get update && sudo $command"
  # shellcheck disable=SC2086
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive $command >/dev/null || fail "this failed: $command"
}

# The stamp names what was installed, so that nothing is asked of pip while it stays the same.
install_python() {
  local stamp=.venv/tvm_kp.stamp wanted
  wanted="$PWD $(cksum <pyproject.toml)"
  if [ ! -x .venv/bin/pip ]; then
    "$1" -m venv .venv || fail "could not make .venv with $1"
  fi
  [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && return
  if ! .venv/bin/python -c 'import importlib.util as u, sys; sys.exit(u.find_spec("torch") is None)'; then
    echo "Installing torch (CONTRIBUTING.md says how to take the smaller build without CUDA)"
    .venv/bin/python -m pip install --quiet torch==2.13.0 || fail "could not install torch 2.13.0"
  fi
  echo "Installing tvm_kp"
  .venv/bin/python -m pip install --quiet -e '.[test]' || fail "could not install tvm_kp into .venv"
  echo "$wanted" >"$stamp"
}

python=$(find_python) || exit 5
mapfile -t missing < <(missing_packages "$python")
[ "${#missing[@]}" = 0 ] || install_packages "${missing[@]}"
install_python "$python"
export PATH="$PWD/.venv/bin:$PATH"
