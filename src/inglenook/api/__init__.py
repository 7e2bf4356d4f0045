# SPDX-License-Identifier: Apache-2.0
"""The JSON side of the server: one folder a dialect, and what watches over the server.

errors.py       how an error looks in JSON, also in the OpenAPI description
bodies.py       reading what a client sends, within bounds
relay.py        from a client to a language model's process and back, for every dialect
refusals.py     what such a process refuses, as an error of ours
keep_alive.py   how long a model stays loaded after an answer
language/       what every dialect of language models stands on
openai/         pictures and models as OpenAI's clients ask for them
completions/    language models as OpenAI's clients ask for them
anthropic/      the same for Anthropic's
alice/          pictures by chat, LoRAs, signed addresses, as ALICE's clients ask for them
chat.py         /v1/chat/completions: which kind of model answers
studio/         our own routes: jobs, pictures, runtime, schedulers, outgoing connections
health.py       /livez, /readyz, /health, /metrics
metrics.py      what /metrics counts
summary.py      /metrics in JSON
description.py  /openapi.json
"""
