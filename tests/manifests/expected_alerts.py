"""Expected alerts, in the format of promtool's unit tests."""

LABELS = ["alertname", "problem", "node", "source_node", "destination_node"]


def fires(minute, *alerts):
    """Expects exactly these alerts at `minute`, each a name with some labels."""
    samples = []
    for name, *rest in alerts:
        labels = {"alertname": name} | dict(zip(rest[::2], rest[1::2], strict=True))
        pretty = ", ".join(f'{key}="{labels[key]}"' for key in LABELS if key in labels)
        samples.append({"labels": f"{{{pretty}}}", "value": 1})
    return {
        "expr": f'sum by ({", ".join(LABELS)}) (ALERTS{{alertstate="firing"}})',
        "eval_time": f"{minute}m",
        "exp_samples": samples,
    }


def silence(*minutes):
    """Expects no alert at any of these minutes."""
    return [fires(minute) for minute in minutes]


def pair(problem, source, destination):
    ends = ("source_node", source, "destination_node", destination)
    return ("IperfMeshPairImpaired", "problem", problem, *ends)


def node(problem, name):
    return ("IperfMeshNodeImpaired", "problem", problem, "node", name)


def mesh(problem):
    return ("IperfMeshImpaired", "problem", problem)


def agent(problem):
    return ("IperfMeshAgentImpaired", "problem", problem)
