# Scrapes a server, as Prometheus does.
# usage: prometheus.py URL; prints the content type, then "TYPE NAME{LABEL=VALUE} NUMBER"
# for each sample, and raises for what is no such text

import sys
import urllib.request

from prometheus_client.parser import text_string_to_metric_families

with urllib.request.urlopen(sys.argv[1], timeout=10) as answer:
    print(answer.headers["Content-Type"])
    text = answer.read().decode()
for family in text_string_to_metric_families(text):
    assert family.documentation, family.name
    for sample in family.samples:
        labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
        print(f"{family.type} {sample.name}{{{labels}}} {sample.value:g}")
