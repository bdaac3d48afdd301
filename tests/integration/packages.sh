#!/usr/bin/env bash
# Installs what the integration tests need and is not there, where that is possible:
# as root, on Debian. The tests skip what is missing, and say so.
set -euo pipefail

absent=()
need() { # PROGRAM PACKAGE…
  compgen -G "$1" >/dev/null || command -v "$1" >/dev/null || absent+=("${@:2}")
}
PATH=$PATH:/usr/sbin
need slurmctld slurmctld
need slurmd slurmd
need squeue slurm-client
need munged munge
need '/usr/lib/postgresql/*/bin/initdb' postgresql
need chromium chromium

((${#absent[@]})) || exit 0
if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
  echo "absent, and not installed without root and apt-get: ${absent[*]}"
  exit 0
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# No server is to start by itself: the tests start their own.
policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
  trap 'rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod +x "$policy"
fi
apt-get install -qq -y --no-install-recommends "${absent[@]}" </dev/null >/dev/null
