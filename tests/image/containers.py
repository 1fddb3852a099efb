"""Containers run by docker with what the DaemonSet asks of Kubernetes, so far as one machine can give it."""

import subprocess

import validators

# None of its commands takes longer, not even that which ends an agent and has a grace of its own.
PATIENCE = 120


def docker(*arguments, check=True):
    """Runs docker, and returns what it printed."""
    done = subprocess.run(["docker", *arguments], check=False, capture_output=True, text=True, timeout=PATIENCE)
    if check and done.returncode:
        raise SystemExit(f"docker {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def logs(container):
    """The last of what an agent said, which it does on its standard error."""
    command = ["docker", "logs", "--tail", "50", container]
    both = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.run(command, check=False, text=True, timeout=PATIENCE, **both).stdout


def security(pod, agent):
    """Docker's flags for both security contexts. A setting that has none here is an error, not left out."""
    context = dict(pod["securityContext"] | agent["securityContext"])
    flags = [f"--user={context.pop('runAsUser')}:{context.pop('runAsGroup')}", f"--group-add={context.pop('fsGroup')}"]
    flags += [f"--cap-drop={one}" for one in context.pop("capabilities")["drop"]]
    # The default profile is what docker takes without being told, and the image is what says who is root.
    same = {
        "allowPrivilegeEscalation": (False, "--security-opt=no-new-privileges"),
        "readOnlyRootFilesystem": (True, "--read-only"),
        "seccompProfile": ({"type": "RuntimeDefault"}, None),
        "runAsNonRoot": (True, None),
    }
    for setting, value in context.items():
        known, flag = same.get(setting, (None, None))
        if value != known:
            raise SystemExit(f"the DaemonSet has {setting}: {value}, for which tests/image knows no flag of docker's")
        flags += [flag] if flag else []
    return flags


def places(pod, agent):
    """Docker's flags for the volumes, all of which are in memory."""
    volumes = {one["name"]: one["emptyDir"] for one in pod["volumes"]}
    for mount in agent["volumeMounts"]:
        limit = volumes[mount["name"]]["sizeLimit"]
        yield f"--tmpfs={mount['mountPath']}:size={limit.removesuffix('i').lower()}"


def start(objects, image, environment):
    """Starts a container as the DaemonSet would; returns its id."""
    pod, agent = validators.pod_spec(objects), validators.container(objects)
    memory = agent["resources"]["limits"]["memory"].removesuffix("i").lower()
    (config,) = validators.of_kind(objects, "ConfigMap")
    variables = [f"--env={name}={value}" for name, value in (config["data"] | environment).items()]
    flags = [*security(pod, agent), *places(pod, agent), f"--memory={memory}", "--network=host", *variables]
    return docker("run", "--detach", *flags, image, *agent["args"]).strip()
