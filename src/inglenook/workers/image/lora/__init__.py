# SPDX-License-Identifier: Apache-2.0
"""LoRAs from files: `names` reads keys, `targets` knows the modules, `files` checks and reads, `adapted` puts
them into modules, `shelf` keeps what was read and sees to it that a Draw has its own and no other."""
