# SPDX-License-Identifier: Apache-2.0
"""What leaves this machine: one fetcher for every outgoing request, and the ledger of what it did.

addresses.py  which addresses are of the public internet. Pure.
target.py     an address that a person wrote, taken apart and checked. Pure.
model.py      bounds of a request, an entry of the ledger, what was fetched
records.py    the ledger in the database
service.py    resolve, check, write down, connect, read within bounds
errors.py     why something was not fetched
"""
