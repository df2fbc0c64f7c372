# SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
# Never on an upgrade, where $1 is 1: this runs after the new version's %post, and what is enabled stays so.
if [ "$1" -eq 0 ]; then
    # While the library is still there: whoever starts without it would complain, and a half of it kills.
    status=0
    bysyscall disable --everything || status=$?
    # A program that cannot run must not leave the entry behind. What it says that it could not undo stays, and we too.
    if [ "$status" -lt 126 ]; then
        [ "$status" -eq 0 ] || exit "$status"
    elif ! bysyscall-rescue && grep -qs libbysyscall /etc/ld.so.preload; then
        echo "bysyscall: first take libbysyscall.so out of /etc/ld.so.preload" >&2
        exit 1
    fi
    systemctl --no-reload disable --now bysyscall.service >/dev/null 2>&1 || :
    # One that was started by hand; but what a chroot or a container sees of its host is not its own.
    if [ "$status" -lt 126 ] && [ -e /run/bysyscall ] && ! systemd-detect-virt --quiet --chroot 2>/dev/null && ! systemd-detect-virt --quiet --container 2>/dev/null; then
        bysyscall stop || exit 1
    fi
fi
exit 0
