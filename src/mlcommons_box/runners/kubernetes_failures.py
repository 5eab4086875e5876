"""What ``kubectl`` and a cluster say when they fail, what that means, and what to do about it."""

from __future__ import annotations

from mlcommons_box.runners.failures import Failure

NO_SHELL = Failure(
    r"exec: \"sh\"|executable file .?sh.? not found",
    "the image has no program 'sh', which has to make its data ready",
    "use an image with sh (and tar, where data is sent), such as one that is built from Debian",
)
NO_TAR = Failure(
    r"no program 'tar'|tar: (?:command )?not found",
    "the image has no program 'tar', by which its data is sent and fetched",
    "use an image with sh and tar, or keep the data in volume claims ('workspace_claim')",
)
NO_CONTEXT = Failure(
    r"context .* does not exist|no context exists|context was not found",
    "there is no such context",
    "'kubectl config get-contexts' lists them; look at 'context' in the platform file, and at KUBECONFIG",
)
NO_NAMESPACE = Failure(
    r"namespaces? .*not found",
    "there is no such namespace",
    "look at 'namespace' in the platform file; 'kubectl get namespaces' lists them",
)
NO_SERVICE_ACCOUNT = Failure(
    r"serviceaccounts? .*not found",
    "there is no such service account",
    "look at 'service_account' in the platform file; 'kubectl get serviceaccounts' lists them",
)
NO_VOLUME_CLAIM = Failure(
    r"persistentvolumeclaim .* not found|persistentvolumeclaims .*not found",
    "there is no such volume claim",
    "look at 'workspace_claim' and at 'pvc' of the bindings; 'kubectl get pvc' lists them",
)
UNREACHABLE = Failure(
    r"no such host|connection refused|i/o timeout|dial tcp|network is unreachable|deadline exceeded"
    r"|TLS handshake timeout|unable to connect to the server|was refused|EOF|ServiceUnavailable|proxyconnect",
    "the cluster cannot be reached",
    "look at the network, at a VPN, and at 'server' in the kubeconfig; 'kubectl cluster-info' asks the cluster",
)
OF_THE_PLATFORM_FILE = (NO_CONTEXT, NO_NAMESPACE, NO_SERVICE_ACCOUNT, NO_VOLUME_CLAIM)
"""Failures whose cause is what a file asks for."""
CLIENT_FAILURES = (
    NO_CONTEXT,
    Failure(
        r"localhost:8080|invalid configuration: no configuration has been provided"
        r"|stat .*kube.?config.*no such file",
        "kubectl knows no cluster",
        "get a kubeconfig from whoever runs the cluster, and put it at ~/.kube/config or into KUBECONFIG",
    ),
    Failure(
        r"error loading config file|invalid configuration|yaml: |couldn't get version/kind",
        "the kubeconfig cannot be read",
        "look at the file that KUBECONFIG names, or at ~/.kube/config; 'kubectl config view' shows what is read",
    ),
    Failure(
        r"x509|certificate signed by unknown authority|tls: failed to verify",
        "the cluster's certificate is not trusted",
        "look at 'certificate-authority' of the cluster in the kubeconfig",
    ),
    Failure(
        r"you must be logged in|unauthorized|the server has asked for the client to provide credentials"
        r"|token.*expired|getting credentials: exec",
        "the cluster does not know you",
        "log in to the cluster again, then try 'kubectl auth whoami'",
    ),
    Failure(
        r"violates PodSecurity",
        "the namespace forbids such a pod",
        "run as an ordinary user (not as root, and without 'user: root'), or use another namespace",
    ),
    Failure(
        r"exceeded quota|must specify (?:limits|requests|cpu|memory)|maximum .* usage per|minimum .* usage per",
        "the quota of the namespace does not allow it",
        "look at 'resources' in the platform file and at 'kubectl describe quota,limits'; free something, or ask "
        "for more",
    ),
    NO_NAMESPACE,
    NO_SERVICE_ACCOUNT,
    NO_VOLUME_CLAIM,
    Failure(
        r"forbidden",
        "you may not do that in this namespace",
        "ask for the right to create, get, list and delete jobs, to get and list pods, to get pods/log, and (where "
        "they are used) to create pods/exec, secrets and networkpolicies; 'kubectl auth can-i --list' shows yours",
    ),
    UNREACHABLE,
    Failure(
        r"exec plugin|executable .* not found|exec: executable",
        "kubectl needs another program to log in",
        "install what 'users' in the kubeconfig names",
    ),
    Failure(
        r"unknown flag|unknown command",
        "this kubectl is too old",
        "install kubectl 1.24 or newer",
    ),
)
"""What ``kubectl`` says."""
POD_FAILURES = (
    NO_SHELL,
    NO_TAR,
    Failure(
        r"InvalidImageName|couldn't parse image|invalid reference format",
        "the image's name is none",
        "look at 'image' in the platform file",
    ),
    Failure(
        r"unauthorized|authentication required|denied|no basic auth|pull access",
        "the cluster may not pull the image",
        "make a secret of the type docker-registry in the namespace, and name it at 'pull_secrets'",
    ),
    Failure(
        r"manifest unknown|not found: manifest|failed to resolve reference.*not found|name unknown"
        r"|manifest for .* not found|repository does not exist|image.*not found",
        "there is no such image in the registry",
        "build the box's image, push it to a registry that the cluster reaches, and write its whole name at "
        "'image'",
    ),
    Failure(
        r"ErrImageNeverPull",
        "the image is not on the node",
        "push it to a registry that the cluster reaches",
    ),
    Failure(
        r"no match for platform|exec format error",
        "the image is for another processor",
        "build it for the processor of the nodes, or choose nodes by 'node_selector'",
    ),
    Failure(
        r"ErrImagePull|ImagePullBackOff|failed to pull|RegistryUnavailable",
        "the cluster cannot pull the image",
        "look at 'image' and 'pull_secrets', and whether the nodes reach the registry",
    ),
    Failure(
        r"executable file not found|no such file or directory|exec: |no command specified|permission denied",
        "the image has no program that can be started",
        "look at ENTRYPOINT in build/Dockerfile",
    ),
    Failure(
        r"runAsNonRoot|image will run as root",
        "the image insists on root",
        "write 'user: root' into the platform file, or a number",
    ),
    Failure(
        r"CreateContainerConfigError|secret .* not found|configmap .* not found",
        "the container's settings cannot be made",
        "'kubectl get events' says what is missing",
    ),
)
"""What a cluster says of a pod that cannot start."""
