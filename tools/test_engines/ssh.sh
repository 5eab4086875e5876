# shellcheck shell=bash disable=SC2153
# A part of tools/test-engines: a second host, which is a network namespace of this machine with an SSH server in it.
#
#   start, stop             the host, with its network, its registry and its SSH server
#   link-down, link-up      the cable between the two hosts; connections survive a short while of it
#   sshd-stop, sshd-start   the SSH server with all its connections; what they had started goes on
#   cut                     end all connections, and go on listening
#   pids                    the processes of that host
#
# It shares the file system, the numbers of processes and the daemon of Docker with this host; its name, its network
# and its loopback interface are its own.  The account "boxhost" logs in.
SSH_HOST=mlbox-host
SSH_ACCOUNT=boxhost
SSH_DIRECTORY=$STATE/ssh
HOST_LINK=mlbox-link
HOST_NETWORK=10.231.77.0/30
HOST_HERE=10.231.77.1
HOST_THERE=10.231.77.2

on_host() { nsenter --net="/run/netns/$SSH_HOST" "$@"; }

make_host_network() {
    if ! on_host true 2>/dev/null; then
        # Where all processes were lost the name may be left, without a namespace.
        umount "/run/netns/$SSH_HOST" 2>/dev/null || true
        rm -f "/run/netns/$SSH_HOST"
        ip link delete "$HOST_LINK" 2>/dev/null || true
        ip netns add "$SSH_HOST"
    fi
    if ! ip link show "$HOST_LINK" >/dev/null 2>&1; then
        ip link add "$HOST_LINK" type veth peer name eth0 netns "$SSH_HOST"
    fi
    ip address replace "$HOST_HERE/30" dev "$HOST_LINK"
    ip link set "$HOST_LINK" up
    on_host ip address replace "$HOST_THERE/30" dev eth0
    on_host ip link set lo up
    link_up
    # What the host wants from the network beyond, this host hands on.
    iptables -t nat -C POSTROUTING -s "$HOST_NETWORK" ! -o "$HOST_LINK" -j MASQUERADE 2>/dev/null ||
        iptables -t nat -A POSTROUTING -s "$HOST_NETWORK" ! -o "$HOST_LINK" -j MASQUERADE
    local direction
    for direction in -i -o; do
        iptables -C FORWARD "$direction" "$HOST_LINK" -j ACCEPT 2>/dev/null ||
            iptables -I FORWARD "$direction" "$HOST_LINK" -j ACCEPT
    done
}

link_up() {
    on_host ip link set eth0 up
    on_host ip route replace default via "$HOST_HERE"
}

link_down() { on_host ip link set eth0 down; }

# The keys, and for whoever logs in a directory with all that OpenSSH needs.
configure_ssh() {
    make_account "$SSH_ACCOUNT" 300000
    usermod -p '*' -aG docker "$SSH_ACCOUNT"
    configure_podman_of "$SSH_ACCOUNT"
    mkdir -p "$SSH_DIRECTORY" /run/sshd
    local name
    for name in host_key id_ed25519; do
        [ -f "$SSH_DIRECTORY/$name" ] || ssh-keygen -q -t ed25519 -N '' -C "$name" -f "$SSH_DIRECTORY/$name"
    done
    # Root may use the key of an ordinary user, and no user may use a key that others can read.
    chown "$ACCOUNT" "$SSH_DIRECTORY/id_ed25519"
    local home
    home=$(home_of "$SSH_ACCOUNT")
    install -d -m 700 -o "$SSH_ACCOUNT" -g "$SSH_ACCOUNT" "$home/.ssh"
    install -m 600 -o "$SSH_ACCOUNT" -g "$SSH_ACCOUNT" "$SSH_DIRECTORY/id_ed25519.pub" "$home/.ssh/authorized_keys"
    echo "$SSH_HOST,$HOST_THERE $(cut -d ' ' -f 1,2 "$SSH_DIRECTORY/host_key.pub")" >"$SSH_DIRECTORY/known_hosts"
    cat >"$SSH_DIRECTORY/ssh_config" <<CONFIG
Host $SSH_HOST
    HostName $HOST_THERE
    User $SSH_ACCOUNT
    IdentityFile $SSH_DIRECTORY/id_ed25519
    IdentitiesOnly yes
    UserKnownHostsFile $SSH_DIRECTORY/known_hosts
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking yes
    BatchMode yes
CONFIG
    cat >"$SSH_DIRECTORY/sshd_config" <<CONFIG
ListenAddress $HOST_THERE
HostKey $SSH_DIRECTORY/host_key
PidFile none
UsePAM no
UseDNS no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin no
AllowUsers $SSH_ACCOUNT
MaxStartups 100
MaxSessions 100
LogLevel VERBOSE
PrintMotd no
AcceptEnv LANG LC_*
SetEnv XDG_RUNTIME_DIR=/run/user/$(id -u "$SSH_ACCOUNT")
Subsystem sftp internal-sftp
CONFIG
}

start_sshd() {
    start_service sshd nsenter --net="/run/netns/$SSH_HOST" \
        "${AS_HOST[@]}" "$SSH_HOST" /usr/sbin/sshd -D -e -f "$SSH_DIRECTORY/sshd_config"
    wait_for 20 sshd ssh_is_ready
}

ssh_is_ready() { ssh -F "$SSH_DIRECTORY/ssh_config" -o ConnectTimeout=5 "$SSH_HOST" true </dev/null; }

host_pids() { if on_host true 2>/dev/null; then ip netns pids "$SSH_HOST"; fi; }

# Every connection has two processes, which do not end with what runs at the other side.
cut_sessions() {
    local pid listening
    listening=$(cat "$RUN/sshd.pid" 2>/dev/null || true)
    for pid in $(host_pids); do
        if [ "$pid" != "$listening" ] && is_running "$pid" sshd; then kill -KILL "$pid" 2>/dev/null || true; fi
    done
}

stop_sshd() {
    stop_service sshd
    cut_sessions
}

start_ssh() {
    know_host "$HOST_THERE" "$SSH_HOST"
    make_host_network
    # On that host, too, the registry is at the loopback interface.
    start_service registry-host nsenter --net="/run/netns/$SSH_HOST" docker-registry serve "$STATE/registry.yml"
    local before
    before=$(cat "$SSH_DIRECTORY/sshd_config" 2>/dev/null || true)
    configure_ssh
    [ "$before" = "$(cat "$SSH_DIRECTORY/sshd_config")" ] || stop_sshd
    start_sshd
}

stop_ssh() {
    stop_sshd
    stop_service registry-host
    if on_host true 2>/dev/null; then
        ip netns delete "$SSH_HOST"
        ip link delete "$HOST_LINK" 2>/dev/null || true
    fi
    iptables -t nat -D POSTROUTING -s "$HOST_NETWORK" ! -o "$HOST_LINK" -j MASQUERADE 2>/dev/null || true
    iptables -D FORWARD -i "$HOST_LINK" -j ACCEPT 2>/dev/null || true
    iptables -D FORWARD -o "$HOST_LINK" -j ACCEPT 2>/dev/null || true
}
