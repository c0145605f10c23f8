#!/usr/bin/env bash
# README's two commands in a bare Debian: debootstrap makes one in a folder, the committed and changed files of this tree
# are copied into it, and it shares nothing with the machine but the kernel and the network.
#
#   tests/fresh.sh demo|test [SUITE...]    by default bookworm (Debian 12) and trixie (13)
#
# Reports in TAP; what each run wrote is left in build/fresh/SUITE.log, packages in build/fresh/SUITE-packages for the next
# time (rm -r build/fresh frees them). Processes and mounts are in namespaces of their own and end with them, whatever happens.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2
command=${1-} suites=("${@:2}")
[ ${#suites[@]} -gt 0 ] || suites=(bookworm trixie)
case $command in
demo) seconds=1800 ;; # most of it for Debian, on a busy machine
test) seconds=7200 ;;
*) sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2 && exit 2 ;;
esac

missing() {
    if [ "$(id -u)" != 0 ]; then
        echo "needs root: sudo make check-fresh"
    elif ! command -v debootstrap >/dev/null; then
        echo "needs debootstrap: apt-get install debootstrap"
    elif ! unshare --mount --pid --fork true 2>/dev/null; then
        echo "the namespaces of mounts and processes are refused here, as in a container without CAP_SYS_ADMIN"
    fi
}

# In the namespaces.
bare() {
    local suite=$1 root=$2 packages=$3
    debootstrap --variant=minbase --cache-dir="$packages" "$suite" "$root" http://deb.debian.org/debian || return 98
    mkdir -p "$packages/partial" "$root/pollring"
    git ls-files -z | tar --create --null --files-from=- | tar --extract --no-same-owner --directory="$root/pollring" &&
        cp /etc/resolv.conf "$root/etc/" && echo force-unsafe-io >"$root/etc/dpkg/dpkg.cfg.d/fast" &&
        echo "127.0.0.1 localhost" >>"$root/etc/hosts" && # as the installer does
        mount -t proc proc "$root/proc" &&
        mount --rbind /dev "$root/dev" && mount --rbind /sys "$root/sys" &&
        mount --bind "$packages" "$root/var/cache/apt/archives" || return 98
    env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin TERM=dumb \
        chroot "$root" /bin/bash -c "cd /pollring && exec ./bootstrap $command" </dev/null
}
if [ "${BARE-}" ]; then
    bare "${suites[@]}"
    exit
fi

root="" run=""
clean_up() {
    if [ "$run" ]; then
        kill "$run" && wait "$run"
    fi
    if [ "$root" ]; then
        rm -rf --one-file-system "$root"
    fi
    run="" root=""
}
trap clean_up EXIT
trap 'exit 1' HUP INT TERM

echo "1..${#suites[@]}"
failed=0 number=0
for suite in "${suites[@]}"; do
    number=$((number + 1)) name="$suite: ./bootstrap $command"
    if reason=$(missing) && [ "$reason" ]; then
        echo "ok $number - $name # SKIP $reason"
        continue
    fi
    root=$PWD/build/fresh/$suite packages=$PWD/build/fresh/$suite-packages log=$PWD/build/fresh/$suite.log started=$SECONDS
    rm -rf --one-file-system "$root" "build/fresh/$suite.passed"
    mkdir -p "$packages"
    BARE=1 timeout --kill-after=10 "$seconds" unshare --mount --pid --fork --kill-child \
        tests/fresh.sh "$command" "$suite" "$root" "$packages" >"$log" 2>&1 &
    run=$!
    wait "$run"
    status=$?
    run=""
    clean_up
    took="$((SECONDS - started)) s"
    case $status in
    0)
        git describe --always --dirty --abbrev=40 --exclude='*' >"build/fresh/$suite.passed" # for `make release-check`
        echo "ok $number - $name ($took): $(tail -n 1 "$log")"
        ;;
    98) echo "ok $number - $name # SKIP no Debian could be made in $root: $(tail -n 1 "$log")" ;;
    *)
        failed=1
        tail -n 20 "$log" | sed 's/^/# /'
        [ $status != 124 ] || echo "# killed after $seconds seconds"
        echo "not ok $number - $name ($took), exit status $status; all of it: $log"
        ;;
    esac
done
exit $failed
