"""What the edits of the overlay `example` must come to in the objects: one entry for each parameter of docs/install.md."""

import judging


def effects(objects):
    """Each parameter with what it is in the rendered objects, and what the overlay says."""
    spec = judging.pod_spec(objects)
    agent = judging.container(objects)
    (daemonset,) = judging.of_kind(objects, "DaemonSet")
    (monitor,) = judging.of_kind(objects, "PodMonitor")
    (rule,) = judging.of_kind(objects, "PrometheusRule")
    (namespace,) = judging.of_kind(objects, "Namespace")
    (config,) = (one for one in judging.of_kind(objects, "ConfigMap") if "IPERF_TEST_INTERVAL" in one["data"])
    settings = config["data"]
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    return {
        "nameOverride": (daemonset["metadata"]["name"], "blue-iperf3-mesh"),
        "namespace": (namespace["metadata"]["name"], "net-observability"),
        "image.repository, image.tag": (agent["image"], "registry.example.com/net/iperf3-mesh:0.1.0"),
        "image.pullPolicy": (agent["imagePullPolicy"], "Always"),
        "testInterval": (settings["IPERF_TEST_INTERVAL"], "120s"),
        "testTimeout": (settings["IPERF_TEST_TIMEOUT"], "15s"),
        "testProtocol": (settings["IPERF_TEST_PROTOCOL"], "both"),
        "a setting that is not edited": (settings["IPERF_TEST_DURATION"], "5s"),
        "resources": (agent["resources"]["limits"], {"memory": "512Mi"}),
        "nodeSelector": (
            spec["nodeSelector"],
            {"kubernetes.io/os": "linux", "node.example.com/role": "worker"},
        ),
        "tolerations": ([one["key"] for one in spec["tolerations"]], ["dedicated"]),
        "serviceMonitor.interval": (endpoint["interval"], "30s"),
        "serviceMonitor.scrapeTimeout": (endpoint["scrapeTimeout"], "10s"),
        "the label of the monitor": (monitor["metadata"]["labels"]["release"], "prometheus"),
        "the label of the rule": (rule["metadata"]["labels"]["release"], "prometheus"),
    }


def complaints(objects):
    for parameter, (found, wanted) in effects(objects).items():
        if found != wanted:
            yield f"{parameter} comes to {found}, not {wanted}"
