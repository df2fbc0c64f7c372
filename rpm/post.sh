# SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
# rpm leaves it to the kernel when files reach the disk, and half of a library would kill whoever has it preloaded.
sync /usr/lib64/libbysyscall.so /usr/lib64 2>/dev/null || :
if [ "$1" -eq 1 ]; then
    # Installing neither enables nor starts anything, unless the distribution's presets want it enabled.
    systemctl --no-reload preset bysyscall.service >/dev/null 2>&1 || :
elif [ -d /run/systemd/system ]; then
    systemctl daemon-reload >/dev/null 2>&1 || :
    # After an upgrade the service goes on as it is, and so do those that it serves, unless its ABI is
    # another: then it serves nobody who begins now, and this version sees only remains of it.
    if systemctl --quiet is-active bysyscall.service &&
        bysyscall status --json 2>/dev/null | grep -q '"remains": true'; then
        systemctl restart bysyscall.service >/dev/null 2>&1 ||
            echo "bysyscall: the service does not start again; see: systemctl status bysyscall" >&2
    fi
fi
exit 0
