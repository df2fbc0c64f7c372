# SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
if [ "$1" -eq 0 ]; then
    # What was enabled; %preun has disabled it.
    rm -rf /var/lib/bysyscall
    # cargo-generate-rpm packages no directories, so nobody else removes them.
    rmdir /usr/share/doc/bysyscall /usr/share/licenses/bysyscall 2>/dev/null || :
fi
systemctl daemon-reload >/dev/null 2>&1 || :
exit 0
