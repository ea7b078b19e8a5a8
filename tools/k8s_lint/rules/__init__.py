"""The rules by name, and the one that is asked of production only."""

from collections.abc import Mapping

from tools.k8s_lint.manifests import Rule
from tools.k8s_lint.rules import (
    commands,
    jobs,
    lifecycle,
    network,
    ports,
    references,
    resources,
    security,
)

_ALL: tuple[Rule, ...] = (
    commands.serve_commands,
    commands.driver_commands,
    commands.environment_names,
    commands.mounted_files,
    commands.driver_config,
    commands.training_config,
    jobs.templates,
    jobs.bounds,
    jobs.failures,
    jobs.resumes,
    lifecycle.probes,
    lifecycle.grace,
    lifecycle.scarce_gpus,
    network.denied_by_default,
    network.policy_selectors,
    network.open_doors,
    ports.probe_ports,
    ports.service_ports,
    ports.monitored_ports,
    ports.process_ports,
    references.named_objects,
    references.named_keys,
    references.mounts,
    references.own_selectors,
    references.service_selectors,
    references.grpc_services,
    references.disruption_budgets,
    references.one_name_each,
    resources.gpu_requests,
    resources.memory,
    resources.bounded_scratch,
    resources.shared_memory,
    resources.spread,
    resources.scalers,
    security.restricted,
    security.read_only_root,
    security.no_token,
    security.image_tags,
)
RULES: Mapping[str, Rule] = {rule.__name__: rule for rule in _ALL}
PINNED: Mapping[str, Rule] = {"image_digests": security.image_digests}
