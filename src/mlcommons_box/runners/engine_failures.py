"""What engines say when they fail, what that means, and what to do about it."""

from __future__ import annotations

from mlcommons_box.runners.failures import Failure

CERTIFICATES = Failure(
    r"certificate verify failed|CERTIFICATE_VERIFY_FAILED|SSLCertVerificationError|UnknownIssuer"
    r"|unable to get (?:local )?issuer certificate|self[- ]signed certificate"
    r"|certificate signed by unknown authority",
    "the network has a certificate authority of its own, which the build does not know",
    "hand over this machine's certificates with --ca-bundle=host, or set MLCOMMONS_BOX_CA_BUNDLE=host",
)
REGISTRY_CERTIFICATES = Failure(
    r"/v2/.*x509: ",
    "the registry's certificate comes from an authority that the engine does not know",
    "tell it of the authority: /etc/docker/certs.d/REGISTRY/ca.crt for Docker, "
    "/etc/containers/certs.d/REGISTRY/ca.crt for Podman, SSL_CERT_FILE for Apptainer",
)
NO_SPACE = Failure(
    r"no space left on device|disk quota exceeded|ENOSPC",
    "the disk is full",
    "free some space (docker system prune, podman system prune, apptainer cache clean), then try again",
)
_DOCKER_FAILURES = (
    Failure(
        r"unable to resolve docker endpoint|context .* not found",
        "there is no such Docker context",
        "'docker context ls' lists them; look at DOCKER_CONTEXT",
    ),
    Failure(
        r"--mount option requires BuildKit",
        "the Dockerfile needs BuildKit, which this Docker does not have",
        "install Docker's plugin 'buildx'",
    ),
    Failure(
        r"permission denied.*(?:docker\.sock|daemon socket)|dial unix.*permission denied",
        "you may not use the Docker daemon",
        "sudo usermod -aG docker $USER, then log in again; or use Podman, which needs no such right",
    ),
    Failure(
        r"cannot connect to the docker daemon|is the docker daemon running|error during connect"
        r"|failed to connect to the docker api|connection refused.*docker",
        "the Docker daemon does not answer",
        "start it (sudo systemctl start docker), and look at DOCKER_HOST and 'docker context ls'",
    ),
    Failure(
        r"could not select device driver.*gpu|unknown runtime specified nvidia|nvidia-container-cli",
        "Docker has no access to GPUs here",
        "install the NVIDIA Container Toolkit and restart Docker",
    ),
    Failure(
        r"bind source path does not exist",
        "the daemon does not see a path of this machine",
        "a remote daemon, or one in a virtual machine, has to share the directory",
    ),
)
_PODMAN_FAILURES = (
    Failure(
        r"container-init binary not found|stat .*catatonit",
        "Podman has no init program",
        "install the package 'catatonit'",
    ),
    Failure(
        r"/etc/subuid|/etc/subgid|newuidmap|insufficient UIDs or GIDs|potentially insufficient",
        "your account has no range of subordinate user ids",
        "ask for one: sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $USER; "
        "then run 'podman system migrate'",
    ),
    Failure(
        r"slirp4netns|/dev/net/tun|pasta failed",
        "Podman cannot make a network for you",
        "install slirp4netns or passt, make /dev/net/tun usable, or give the task 'network: none'",
    ),
    Failure(
        r"unresolvable CDI devices|nvidia\.com/gpu",
        "Podman has no access to GPUs here",
        "install the NVIDIA Container Toolkit and run 'nvidia-ctk cdi generate'",
    ),
)
_FAILURES = (
    NO_SPACE,
    REGISTRY_CERTIFICATES,
    CERTIFICATES,
    Failure(
        r"executable file not found|exec .* failed: |failed to exec pid1|exec format error"
        r"|no such file or directory: unknown|permission denied: unknown|no command specified",
        "the image has no program that can be started",
        "look at ENTRYPOINT in build/Dockerfile, and at the processor that the image is for",
    ),
    Failure(
        r"pull access denied|manifest unknown|repository does not exist|manifest for .* not found"
        r"|not found: manifest|name unknown|requested access to the resource is denied|unauthorized",
        "there is no such image for you",
        "look at the image's name, log in to its registry, or add build/Dockerfile to build it",
    ),
    Failure(
        r"no such host|i/o timeout|TLS handshake timeout|temporary failure in name resolution|dial tcp"
        r"|network is unreachable",
        "the registry cannot be reached",
        "look at the network and at the proxies of the engine; an image that is here needs no registry",
    ),
    Failure(
        r"unknown (?:shorthand )?flag|flag needs an argument|invalid argument .* for .*flag",
        "it does not take one of the options",
        "look at 'arguments' in the platform file, or install a newer engine",
    ),
)
SINGULARITY_FAILURES = (
    NO_SPACE,
    REGISTRY_CERTIFICATES,
    CERTIFICATES,
    Failure(
        r"/dev/fuse|fuse: device not found|fuse.*operation not permitted|squashfuse",
        "image files cannot be mounted here",
        "make /dev/fuse usable and install squashfuse, or ask for Apptainer's setuid installation",
    ),
    Failure(
        r"/etc/subuid|/etc/subgid|newuidmap|no mapping entry|could not use fakeroot",
        "your account has no range of subordinate user ids, which building needs",
        "ask for one: sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $USER",
    ),
    Failure(
        r"user namespace|unshare.*not permitted|max_user_namespaces",
        "this machine does not let you make user namespaces",
        "ask the administrator for unprivileged user namespaces, or for Apptainer's setuid installation",
    ),
    Failure(
        r"mksquashfs|unsquashfs",
        "the tools for image files are missing",
        "install the package 'squashfs-tools'",
    ),
    Failure(
        r"unknown flag: --(?:mount|no-eval)",
        "this Singularity is too old",
        "install Apptainer 1.1, SingularityCE 3.10, or a newer version of either",
    ),
    Failure(
        r"MANIFEST_UNKNOWN|NAME_UNKNOWN|UNAUTHORIZED|(?<!permission )denied: |manifest unknown|reading manifest"
        r"|404 not found",
        "there is no such image for you in the registry",
        "look at the name after 'From:' or 'image:', and log in to the registry",
    ),
    Failure(
        r"no such host|i/o timeout|connection refused|network is unreachable|TLS handshake timeout|dial tcp",
        "the registry cannot be reached",
        "look at the network and the proxies; with an image file at 'image:' no registry is needed",
    ),
    Failure(
        r"cgroups?.*(?:not|require|rootless)|rootless cgroups",
        "this machine does not let you limit CPUs or memory",
        "remove 'resources' from the platform file, or ask for cgroups v2 with systemd",
    ),
    Failure(
        r"image format not recognized|not a valid SIF|could not open image",
        "the image file is damaged, or no image",
        "remove it, then configure again",
    ),
)


def failures_of(executable: str) -> tuple[Failure, ...]:
    """What an engine may say, and what it means."""
    return (*(_PODMAN_FAILURES if executable == "podman" else _DOCKER_FAILURES), *_FAILURES)
