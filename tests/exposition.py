"""What a metrics page says, as a test asks for it."""

from prometheus_client.parser import text_string_to_metric_families

Sample = tuple[str, frozenset[tuple[str, str]]]


class Exposition:
    """By a sample's name and labels."""

    def __init__(self, text: str) -> None:
        self.families = {family.name: family for family in text_string_to_metric_families(text)}
        self.samples: dict[Sample, float] = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in self.families.values()
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float:
        return self.samples[name, frozenset(labels.items())]

    def by(self, name: str, label: str) -> dict[str, float]:
        """Sums over all else."""
        found: dict[str, float] = {}
        for (sample, labels), value in self.samples.items():
            if sample == name:
                key = dict(labels)[label]
                found[key] = found.get(key, 0) + value
        return found

    def of(self, *prefixes: str) -> dict[Sample, float]:
        """Those whose names begin so."""
        return {key: n for key, n in self.samples.items() if key[0].startswith(prefixes)}
