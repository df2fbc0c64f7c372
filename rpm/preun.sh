# SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
# Never on an upgrade, where $1 is 1: this runs after the new version's %post, and what is enabled stays so.
if [ "$1" -eq 0 ]; then
    # While the library is still there: whoever starts without it would complain, and a half of it kills.
    bysyscall disable --everything || {
        # A program that does not work must not leave the entry behind.
        library='/usr/lib64/libbysyscall\.so'
        if [ -f /etc/ld.so.preload ] && grep -q "$library" /etc/ld.so.preload; then
            cp -a /etc/ld.so.preload /etc/ld.so.preload.bysyscall &&
                sed -e :next -e "s,\(^\|[[:blank:]:]\)$library\([[:blank:]:]\|\$\),\1\2," -e tnext /etc/ld.so.preload >/etc/ld.so.preload.bysyscall &&
                sync /etc/ld.so.preload.bysyscall &&
                mv -f /etc/ld.so.preload.bysyscall /etc/ld.so.preload || exit 1
        fi
    }
    systemctl --no-reload disable --now bysyscall.service >/dev/null 2>&1 || :
    # One that was started by hand; but what a chroot or a container sees of its host is not its own.
    if [ -e /run/bysyscall ] && ! systemd-detect-virt --quiet --chroot 2>/dev/null && ! systemd-detect-virt --quiet --container 2>/dev/null; then
        bysyscall stop || exit 1
    fi
fi
exit 0
