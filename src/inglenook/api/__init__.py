# SPDX-License-Identifier: Apache-2.0
"""The JSON side of the server: one folder a dialect, and what watches over the server.

errors.py       how an error looks in JSON, also in the OpenAPI description
bodies.py       reading what a client sends, within bounds
openai/         pictures and models as OpenAI's clients ask for them
studio/         our own routes: jobs, pictures, runtime, schedulers
health.py       /livez, /readyz, /health, /metrics
metrics.py      what /metrics counts
description.py  /openapi.json
"""
