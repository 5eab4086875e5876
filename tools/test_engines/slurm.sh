# shellcheck shell=bash disable=SC2153
# A part of tools/test-engines: Slurm, with a controller and two nodes on this machine.
#
#   start, stop                         the cluster; 'start' forgets the jobs of a cluster that was stopped
#   node-kill NAME, node-start NAME     the power cable of a node: all that runs there is gone at once
#   node-fail NAME                      the same, and the controller notices at once, not after half a minute
#   node-pids NAME                      the processes of a node
#   controller-stop, controller-start   nobody answers; afterwards the jobs are known again
#
# The nodes share the file system, the numbers of processes and the network with this host; their names are their own,
# and that is how the processes of a node are known.  Both believe to have all processors.
SLURM_NODES=(node1 node2)
SLURM_ADDRESS=10.231.78.1
SLURM_DIRECTORY=$STATE/slurm

configure_slurm() {
    # A job that uses more memory than it asked for is ended by the kernel where that has control groups for it, of the
    # kind that Slurm knows, and otherwise by Slurm, within seconds.
    local limits=(TaskPlugin=task/none JobAcctGatherParams=OverMemoryKill)
    if mountpoint --quiet /sys/fs/cgroup/memory; then limits=(TaskPlugin=task/cgroup); fi
    know_host "$SLURM_ADDRESS" mlbox-controller
    mkdir -p "$SLURM_DIRECTORY/state" "$SLURM_DIRECTORY/spool" /etc/slurm
    local settings=$SLURM_DIRECTORY/slurm.conf
    cat >"$settings" <<CONFIG
ClusterName=mlbox
SlurmctldHost=mlbox-controller($SLURM_ADDRESS)
SlurmUser=root
AuthType=auth/munge
CryptoType=crypto/munge
StateSaveLocation=$SLURM_DIRECTORY/state
SlurmdSpoolDir=$SLURM_DIRECTORY/spool/%n
SlurmctldPidFile=$RUN/slurmctld.own.pid
SlurmdPidFile=$RUN/slurmd-%n.own.pid
ProctrackType=proctrack/linuxproc
SwitchType=switch/none
MpiDefault=none
PropagateResourceLimits=NONE

SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=2000
PreemptType=preempt/none
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,sched_interval=5,bf_interval=1
MaxArraySize=10001
MaxJobCount=20000

$(printf '%s\n' "${limits[@]}")
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
AccountingStorageType=accounting_storage/none

# Ended jobs are remembered for a while, and a dead node is noticed soon.
MinJobAge=600
OverTimeLimit=0
KillWait=2
InactiveLimit=0
SlurmdTimeout=5
JobRequeue=1
ReturnToService=2

SlurmdParameters=config_overrides
CONFIG
    cat >/etc/slurm/cgroup.conf <<CONFIG
CgroupPlugin=cgroup/v1
CgroupMountpoint=/sys/fs/cgroup
CgroupAutomount=yes
ConstrainRAMSpace=yes
CONFIG
    local node port=17001
    for node in "${SLURM_NODES[@]}"; do
        know_host "$SLURM_ADDRESS" "$node"
        mkdir -p "$SLURM_DIRECTORY/spool/$node"
        echo "NodeName=$node NodeAddr=$SLURM_ADDRESS Port=$port CPUs=2 RealMemory=8000"
        port=$((port + 1))
    done >>"$settings"
    echo 'PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP' >>"$settings"
    if ! cmp --silent "$settings" /etc/slurm/slurm.conf; then
        stop_slurm
        cp "$settings" /etc/slurm/slurm.conf
    fi
    # An address that both this host and the one of ssh.sh reach, whatever becomes of the link between them.
    ip address replace "$SLURM_ADDRESS/32" dev lo
}

start_munge() {
    install -d -m 700 -o munge -g munge /var/lib/munge /var/log/munge /etc/munge
    install -d -m 755 -o munge -g munge /run/munge
    [ -f /etc/munge/munge.key ] || mungekey --create
    chown munge:munge /etc/munge/munge.key
    service_runs munged || rm -f /run/munge/munge.socket*
    start_service munged setpriv --reuid munge --regid munge --init-groups munged --foreground
    wait_for 20 munged munge --no-input
}

# start_controller [OPTION]
start_controller() {
    start_service slurmctld "${AS_HOST[@]}" mlbox-controller slurmctld -D "$@"
    wait_for 20 slurmctld scontrol ping
}

# resume_controller: and wait until it has heard of the nodes that run.
resume_controller() {
    local node
    start_controller
    for node in "${SLURM_NODES[@]}"; do
        if service_runs "slurmd-$node"; then wait_for 30 slurmctld node_is_ready "$node"; fi
    done
}

# start_node NAME: also one that was taken for dead.
start_node() {
    start_service "slurmd-$1" "${AS_HOST[@]}" "$1" slurmd -D -N "$1"
    wait_for 30 "slurmd-$1" node_is_ready "$1"
}

node_is_ready() {
    local state
    state=$(sinfo --noheader --nodes="$1" --format=%T)
    case $state in
        idle | mixed | allocated) ;;
        down | drained) scontrol update nodename="$1" state=resume && return 1 ;;
        *) return 1 ;;
    esac
}

slurm_is_ready() {
    local node
    for node in "${SLURM_NODES[@]}"; do
        case $(sinfo --noheader --nodes="$node" --format=%T) in idle | mixed | allocated) ;; *) return 1 ;; esac
    done
}

# node_pids NAME: what sees the name of the node as its host's and what such processes started, Slurm's own first, so that
# none is left to tell the controller of the others.
node_pids() {
    local namespace pid
    while read -r namespace pid; do
        [ "$(nsenter --uts="/proc/$pid/ns/uts" hostname 2>/dev/null)" = "$1" ] || continue
        ps -eo pid=,ppid=,utsns=,comm= | awk -v namespace="$namespace" '
            { parent[$1] = $2; rank[$1] = $4 == "slurmd" ? 0 : $4 == "slurmstepd" ? 1 : 2; inside[$1] = $3 == namespace }
            END {
                do {
                    more = 0
                    for (pid in parent)
                        if (!inside[pid] && inside[parent[pid]]) inside[pid] = more = 1
                } while (more)
                for (wanted = 0; wanted < 3; wanted++)
                    for (pid in parent) if (inside[pid] && rank[pid] == wanted) print pid
            }'
    done < <(lsns --type uts --noheadings --output NS,PID)
}

# kill_node NAME
kill_node() {
    local pids _
    for _ in $(seq 50); do
        pids=$(node_pids "$1")
        [ -n "$pids" ] || break
        # shellcheck disable=SC2086
        kill -KILL $pids 2>/dev/null || true
        sleep 0.1
    done
    rm -f "$RUN/slurmd-$1.pid"
}

fail_node() {
    kill_node "$1"
    scontrol update nodename="$1" state=down reason=failed
}

start_slurm() {
    configure_slurm
    start_munge
    local node options=(-c)
    for node in "${SLURM_NODES[@]}"; do
        if service_runs "slurmd-$node"; then options=(); fi
    done
    start_controller "${options[@]}"
    for node in "${SLURM_NODES[@]}"; do start_node "$node"; done
}

stop_slurm() {
    local node
    stop_service slurmctld
    for node in "${SLURM_NODES[@]}"; do kill_node "$node"; done
    stop_service munged
    ip address delete "$SLURM_ADDRESS/32" dev lo 2>/dev/null || true
}
