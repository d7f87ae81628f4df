#!/bin/bash
# What the Debian package does on a machine that systemd runs: installed, watched, upgraded, removed and
# purged. Runs in a guest (`cargo xtask test package`), beside 1.deb and 2.deb, and says what it finds as
# tests do (xtask/src/vm/report.rs).

here=$(dirname "$0")
failed=0

# Milliseconds since boot.
now() { awk '{ printf "%d", $1 * 1000 }' /proc/uptime; }
say() { echo "$(now) $*"; }

# check NAME FUNCTION: one test; whatever it writes is shown.
check() {
    local output
    if output=$("$2" 2>&1); then
        say "out test package::$1 ... ok"
    else
        say "out test package::$1 ... FAILED"
        failed=1
        journalctl --unit mount-observer --no-pager --output cat --lines 20 | sed 's/^/journal: /' >/tmp/journal
        { echo "$output"; cat /tmp/journal; } | while IFS= read -r line; do say "err $line"; done
    fi
}

# until_true SECONDS COMMAND...
until_true() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ $SECONDS -lt $end ] || { echo "not within the time: $*"; return 1; }
        sleep 0.2
    done
}

journal_has() { journalctl --unit mount-observer --no-pager --output cat | grep --quiet --fixed-strings -- "$1"; }
main_pid() { systemctl show --property MainPID --value mount-observer; }
is_active() { [ "$(systemctl is-active mount-observer)" = active ]; }
dpkg_install() { DEBIAN_FRONTEND=noninteractive dpkg --force-unsafe-io --install "$1" </dev/null; }

installed() {
    dpkg_install "$here/1.deb" && is_active || return 1
    # Type=notify: active means that it said READY=1.
    [ "$(systemctl show --property Type --value mount-observer)" = notify ] || return 1
    systemctl is-enabled mount-observer && systemctl status --no-pager mount-observer
}

confined() {
    journal_has 'confined own_mounts=yes landlock=V' || return 1
    local pid task
    pid=$(main_pid)
    # The loop is in a namespace of its own, and nothing observed is in that; it was started in the
    # host's, where the thread of the log still is.
    [ "$(readlink "/proc/$pid/ns/mnt")" != "$(readlink /proc/1/ns/mnt)" ] || return 1
    for task in /proc/"$pid"/task/*; do
        [ "$(cat "$task/comm")" != log ] || [ "$(readlink "$task/ns/mnt")" = "$(readlink /proc/1/ns/mnt)" ] || return 1
    done
    ! grep fuse /proc/"$pid"/mountinfo | grep --invert-match fusectl || return 1
    for task in /proc/"$pid"/task/*; do
        echo "$(cat "$task/comm"): $(grep -E 'CapEff|NoNewPrivs|Seccomp:' "$task/status" | tr '\n\t' '  ')"
        grep --quiet 'NoNewPrivs:.1' "$task/status" || return 1
        # Without CAP_SYS_ADMIN (bit 21), which it was started with.
        (( (0x$(awk '/CapEff/ { print $2 }' "$task/status") >> 21 & 1) == 0 )) || return 1
    done
    # fusectl is read, which needs openat2.
    ! journal_has 'cannot open fusectl'
}

alerted() {
    mkdir -p /srv/back /mnt/a /mnt/b
    bindfs /srv/back /mnt/a && bindfs /srv/back /mnt/b || return 1
    until_true 10 sees_two || return 1
    kill -KILL "$(pgrep --full 'bindfs /srv/back /mnt/a')"
    until_true 10 journal_has 'CRITICAL dead /mnt/a'
}
sees_two() { [ "$(mount-observer status --json | grep --count '"mount_point":')" -ge 2 ]; }

reloaded() {
    systemctl reload mount-observer || return 1
    until_true 10 journal_has 'the configuration was read again'
}

restarted() {
    local before
    before=$(main_pid)
    # One mount is dead; the server of the other answers nobody.
    kill -STOP "$(pgrep --full 'bindfs /srv/back /mnt/b')"
    timeout 60 systemctl restart mount-observer || return 1
    is_active && [ "$(main_pid)" != "$before" ] || return 1
    until_true 20 journal_has 'hung /mnt/b'
}

unmounted() {
    kill -CONT "$(pgrep --full 'bindfs /srv/back /mnt/b')"
    # Nothing of ours holds them.
    umount /mnt/b && umount /mnt/a && until_true 10 gone
}
gone() { ! pgrep --full 'bindfs /srv/back /mnt/b' && journal_has 'RESOLVED dead (gone, unmounted) /mnt/a'; }

upgraded() {
    local before
    before=$(main_pid)
    echo '# kept' >>/etc/mount-observer.toml
    dpkg_install "$here/2.deb" && is_active || return 1
    [ "$(main_pid)" != "$before" ] || return 1
    [ "$(dpkg-query --show --showformat '${Version}' mount-observer)" = 9.9.9-1 ] || return 1
    tail -1 /etc/mount-observer.toml | grep --quiet '# kept'
}

removed() {
    dpkg --remove mount-observer || return 1
    ! is_active && [ ! -e /usr/bin/mount-observer ] || return 1
    ! pgrep mount-observer || return 1
    [ -e /etc/mount-observer.toml ] && [ -d /var/lib/mount-observer ]
}

purged() {
    dpkg --purge mount-observer || return 1
    systemctl daemon-reload
    local left
    left=$(find / -xdev \( -path /proc -o -path /sys -o -path "$here" \) -prune -o -name '*mount-observer*' -print)
    echo "left: $left"
    [ -z "$left" ] && [ -z "$(systemctl list-units --all --no-legend 'mount-observer*')" ]
}

say "kernel $(uname -r)"
say "begin package"
for test in installed confined alerted reloaded restarted unmounted upgraded removed purged; do
    check "$test" "$test"
done
say "end $failed"
say "done"
if [ "$failed" = 0 ]; then say "verdict passed"; else say "verdict failed"; fi
