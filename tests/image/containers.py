"""Runs containers in docker with the DaemonSet's settings, as far as one machine can have them."""

import subprocess

import validators

# Longer than any docker command, including one that stops an agent with its grace period.
PATIENCE = 120


def docker(*arguments, check=True):
    """Runs docker and returns its output."""
    done = subprocess.run(
        ["docker", *arguments], check=False, capture_output=True, text=True, timeout=PATIENCE
    )
    if check and done.returncode:
        raise SystemExit(f"docker {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def logs(container):
    """Returns the last lines of an agent's log."""
    command = ["docker", "logs", "--tail", "50", container]
    both = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.run(command, check=False, text=True, timeout=PATIENCE, **both).stdout


def security(pod, agent):
    """Returns docker's flags for both security contexts. A setting without a known flag is an
    error.
    """
    context = dict(pod["securityContext"] | agent["securityContext"])
    flags = [
        f"--user={context.pop('runAsUser')}:{context.pop('runAsGroup')}",
        f"--group-add={context.pop('fsGroup')}",
    ]
    flags += [f"--cap-drop={one}" for one in context.pop("capabilities")["drop"]]
    # Docker uses the default seccomp profile without a flag, and --user makes the container
    # non-root.
    known = {
        "allowPrivilegeEscalation": (False, "--security-opt=no-new-privileges"),
        "readOnlyRootFilesystem": (True, "--read-only"),
        "seccompProfile": ({"type": "RuntimeDefault"}, None),
        "runAsNonRoot": (True, None),
    }
    for setting, value in context.items():
        supported, flag = known.get(setting, (None, None))
        if value != supported:
            raise SystemExit(
                f"the DaemonSet has {setting}: {value}, for which tests/image has no docker flag"
            )
        flags += [flag] if flag else []
    return flags


def volume_flags(pod, agent):
    """Returns docker's flags for the volumes, all of which are in memory."""
    volumes = {one["name"]: one["emptyDir"] for one in pod["volumes"]}
    for mount in agent["volumeMounts"]:
        limit = volumes[mount["name"]]["sizeLimit"]
        yield f"--tmpfs={mount['mountPath']}:size={limit.removesuffix('i').lower()}"


def start(objects, image, environment):
    """Starts a container with the DaemonSet's settings; returns its id."""
    pod, agent = validators.pod_spec(objects), validators.container(objects)
    memory = agent["resources"]["limits"]["memory"].removesuffix("i").lower()
    (config,) = validators.of_kind(objects, "ConfigMap")
    variables = [f"--env={name}={value}" for name, value in (config["data"] | environment).items()]
    flags = [
        *security(pod, agent),
        *volume_flags(pod, agent),
        f"--memory={memory}",
        "--network=host",
        *variables,
    ]
    return docker("run", "--detach", *flags, image, *agent["args"]).strip()
