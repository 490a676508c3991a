"""A real Slurm of two nodes on this machine, with accounting: its files in one folder, its daemons our children.

Debian's packages, no systemd, and of cgroups only those of version 1 for memory, where root may write there. A node is
a slurmd in namespaces of its own: it has its own hostname and its own processes, which all die at once where it loses
power. Nodes claim what CPUs, memory and GPUs they like; a GPU is a clone of /dev/null, a character device, for which
alone Slurm sets CUDA_VISIBLE_DEVICES.
Accounting (slurmdbd over MariaDB) is needed: without sacct, submitit waits for ever for a job that died without a word.
"""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import debian
from debian import Unavailable

PACKAGES = ("munge", "slurmctld", "slurmd", "slurm-client", "slurmdbd", "mariadb-server-core", "mariadb-client-core")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "slurmdbd", "mariadbd", "mariadb")
MEMORY = Path("/sys/fs/cgroup/memory")  # cgroups of version 1
ALONE = ("unshare", "--uts", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
# the shell stays, to wait for the orphans of the processes within
BOOT = "hostname {node} && mount --bind {root}/etc/hosts /etc/hosts && {{ slurmd -D -N {node}; true; }}"

SLURM_CONF = """\
ClusterName=eutectic
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ctld}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# cred_expire is also what a requeued job waits before it may start again (by default 120 s)
AuthInfo=socket={root}/run/munge.sock,cred_expire=5
CredType=cred/munge
{loopback}
MailProg=/bin/true
MpiDefault=none
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool/%n
SlurmctldPidFile={root}/run/slurmctld.pid
SlurmdPidFile={root}/run/slurmd.%n.pid
SlurmctldLogFile={root}/log/slurmctld.log
SlurmdLogFile={root}/log/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin={task}
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
# nodes that claim more than the host has would be drained
SlurmdParameters=config_overrides
ReturnToService=1
SlurmctldTimeout=30
SlurmdTimeout=10
BatchStartTimeout=10
# below cred_expire, or a requeued job can meet its own old processes and be held
KillWait=3
MinJobAge=300
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,sched_min_interval=0,batch_sched_delay=0
SelectType=select/cons_tres
# the least loaded node first, so that two jobs are on two nodes
SelectTypeParameters=CR_CPU_Memory,CR_LLN
# a job that names no memory would take a node's whole
DefMemPerCPU=200
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
# a job that is preempted gets the signal of its --signal, too, not only SIGTERM
SlurmctldParameters=preempt_send_user_signal
GresTypes=gpu
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={dbd}
AccountingStorageTRES=gres/gpu
AccountingStoragePass={root}/run/munge.sock
NodeName={n1} NodeHostname={n1} NodeAddr=127.0.0.1 Port={p1} CPUs=2 RealMemory=8000 Gres=gpu:2 State=UNKNOWN
NodeName={n2} NodeHostname={n2} NodeAddr=127.0.0.1 Port={p2} CPUs=2 RealMemory=8000 Gres=gpu:2 State=UNKNOWN
PartitionName=main Nodes={n1},{n2} Default=YES MaxTime=INFINITE State=UP GraceTime=20
PartitionName=other Nodes={n1},{n2} MaxTime=INFINITE State=UP
PartitionName=urgent Nodes={n1},{n2} MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
"""
CGROUP_CONF = """\
CgroupPlugin=cgroup/v1
CgroupMountpoint=/sys/fs/cgroup
CgroupAutomount=no
ConstrainRAMSpace=yes
"""
GRES_CONF = "NodeName={n1},{n2} Name=gpu File={root}/dev/gpu[0-1]\n"
SLURMDBD_CONF = """\
AuthType=auth/munge
AuthInfo=socket={root}/run/munge.sock
DbdHost={host}
DbdAddr=127.0.0.1
DbdPort={dbd}
SlurmUser=root
{loopback}
LogFile={root}/log/slurmdbd.log
PidFile={root}/run/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={db}
StorageUser=slurm
StoragePass={password}
StorageLoc=slurm
"""


class Cluster:
    """Two nodes, each of 2 CPUs, 8 GB and 2 GPUs; partitions main (default) and other, whose jobs those of a third,
    urgent, preempt, in main 20 s after a signal. name: no other cluster's here, for cgroups go by the nodes' names."""

    def __init__(self, root: Path, name: str):
        self.root, self.host = root, socket.gethostname().partition(".")[0]
        self.nodes = (f"{name}-n1", f"{name}-n2")
        self.environment = os.environ | {
            "SLURM_CONF": str(root / "etc/slurm.conf"),
            "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin",
        }
        # what exceeds its job's memory, by the kernel
        self.kills_for_memory = os.access(MEMORY / "memory.limit_in_bytes", os.W_OK)
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """Raises Unavailable where packages, or the rights to install or to start them, are missing."""
        install()
        self._write()
        self._munge()
        self._database()
        self._daemon("slurmdbd", "slurmdbd", "-D")
        self._wait("slurmdbd", lambda: self.run("sacctmgr", "-n", "-i", "list", "cluster"))
        for entity in (["cluster", "eutectic"], ["account", "lab"], ["user", "root", "account=lab"]):
            self.run("sacctmgr", "-i", "add", *entity)
        self.start_controller()
        for node in self.nodes:
            self.boot(node)

    def boot(self, node: str) -> None:
        """Start a node, which is new or has lost its power, and wait until it may take jobs."""
        self._daemon(node, *ALONE, "sh", "-c", BOOT.format(node=node, root=self.root))
        self._wait(node, lambda: "State=IDLE " in self.run("scontrol", "show", "node", node))

    def start_controller(self) -> None:
        self._daemon("slurmctld", "slurmctld", "-D")
        self._wait("slurmctld", lambda: "UP" in self.run("scontrol", "ping"))

    def kill(self, name: str) -> None:
        """End a daemon without a warning, or a node with all that runs on it."""
        child = self._children.pop(name)
        child.kill()
        child.wait()
        cgroups = MEMORY / f"slurm_{name}"
        if cgroups.exists():
            self._wait(f"the end of all in {cgroups}", lambda: self.run("find", str(cgroups), "-type", "d", "-delete"))

    def stop(self) -> None:
        """Cancel what still runs, switch the nodes off, then stop the daemons, last started first."""
        if {"slurmctld", *self.nodes} <= self._children.keys():
            self.run("scancel", "--user", "root")
            self._wait("the queue's end", lambda: self.run("squeue", "-h") == "")
        for node in self._children.keys() & set(self.nodes):
            self.kill(node)
        for child in reversed(self._children.values()):
            child.send_signal(signal.SIGTERM)
            try:
                child.wait(15)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()

    def run(self, *command: str) -> str:
        """What a command prints. Raises CalledProcessError."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def _write(self) -> None:
        for name in ("etc", "log", "run", "state", "dev", *(f"spool/{node}" for node in self.nodes)):
            (self.root / name).mkdir(parents=True)
        self.root.chmod(0o755)  # munge wants its socket within everyone's reach
        values = dict(zip(("ctld", "dbd", "db", "p1", "p2"), map(str, free_ports(5)), strict=True))
        # the daemons listen on what the host's name resolves to; where that is not 127.0.0.1, on every interface
        alone = socket.gethostbyname(self.host) == "127.0.0.1"
        self.port, self.password = values["db"], os.urandom(12).hex()
        values |= dict(zip(("n1", "n2"), self.nodes, strict=True))
        values |= {"root": str(self.root), "host": self.host, "password": self.password}
        values["task"] = "task/cgroup" if self.kills_for_memory else "task/none"
        for name, text, option in (
            ("slurm.conf", SLURM_CONF, "NoInAddrAny,NoCtldInAddrAny"),
            ("slurmdbd.conf", SLURMDBD_CONF, "NoInAddrAny"),
            ("gres.conf", GRES_CONF, ""),
            *([("cgroup.conf", CGROUP_CONF, "")] if self.kills_for_memory else []),
        ):
            loopback = f"CommunicationParameters={option}" if alone else ""
            path = self.root / "etc" / name
            path.touch(0o600)  # slurmdbd insists on it
            path.write_text(text.format(**values, loopback=loopback))
        (self.root / "etc/hosts").write_text(f"{Path('/etc/hosts').read_text()}\n127.0.0.1 {' '.join(self.nodes)}\n")
        for k in range(2):
            os.mknod(self.root / f"dev/gpu{k}", 0o020666, os.makedev(1, 3))

    def _munge(self) -> None:
        key = self.root / "etc/munge.key"
        key.touch(0o600)
        key.write_bytes(os.urandom(128))
        paths = {"socket": "run/munge.sock", "pid-file": "run/munged.pid", "log-file": "log/munged.log"}
        paths |= {"seed-file": "run/munged.seed", "key-file": "etc/munge.key"}
        self._daemon("munged", "munged", "-F", *(f"--{name}={self.root / path}" for name, path in paths.items()))
        self._wait("munged", (self.root / "run/munge.sock").exists)

    def _database(self) -> None:
        data, sock = self.root / "mysql", self.root / "run/mysql.sock"
        options = ["--no-defaults", "--user=root", f"--datadir={data}"]
        with (self.root / "log/mariadb-install.log").open("wb") as log:
            command = ["mariadb-install-db", *options, "--auth-root-authentication-method=socket", "--skip-test-db"]
            subprocess.run(command, stdout=log, stderr=log, check=True)
        self._daemon(
            "mariadbd",
            "mariadbd",
            *options,
            f"--socket={sock}",
            f"--pid-file={self.root}/run/mariadbd.pid",
            "--bind-address=127.0.0.1",
            f"--port={self.port}",
            "--innodb-lock-wait-timeout=900",
            "--innodb-flush-log-at-trx-commit=2",
            "--skip-name-resolve",
        )
        client = ["mariadb", "--no-defaults", f"--socket={sock}", "-u", "root", "-e"]
        self._wait("mariadbd", lambda: self.run(*client, "select 1"))
        create = f"CREATE DATABASE slurm; CREATE USER 'slurm'@'127.0.0.1' IDENTIFIED BY '{self.password}';"
        self.run(*client, f"{create} GRANT ALL ON slurm.* TO 'slurm'@'127.0.0.1';")

    def _daemon(self, name: str, *command: str) -> None:
        """In the foreground of its own session, as our child: its pid is ours to stop, and none is left a zombie."""
        with (self.root / "log/start.log").open("ab") as log:
            self._children[name] = subprocess.Popen(
                command,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _wait(self, what: str, ready: Callable[[], object]) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                if ready() is not False:
                    return
            except subprocess.CalledProcessError:
                pass
            time.sleep(0.1)
        tail = "\n".join((self.root / "log/start.log").read_text(errors="replace").splitlines()[-20:])
        raise RuntimeError(f"{what} not there after 30 s:\n{tail}")


def install() -> None:
    """Debian's packages, where they are missing. Raises Unavailable where that cannot be."""
    if os.geteuid() != 0:
        raise Unavailable("a Slurm of one's own needs root.")
    if subprocess.run([*ALONE, "true"], capture_output=True).returncode:
        raise Unavailable("nodes of one's own need namespaces, and unshare may make none here.")
    debian.install(PACKAGES, PROGRAMS)


def free_ports(n: int) -> list[int]:
    """Below the range that the kernel hands to outgoing connections, one of which may else take it first."""
    found: list[int] = []
    for port in range(17000 + os.getpid() % 1000 * 10, 32000):
        with socket.socket() as sock:
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == n:
            return found
    raise RuntimeError("no free ports")
