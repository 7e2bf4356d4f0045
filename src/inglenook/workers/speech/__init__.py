# SPDX-License-Identifier: Apache-2.0
"""The speech worker: one Whisper model on one device, writing down what the server asks for over the wire.

__main__      connect at once, import the heavy libraries afterwards
worker        load, then one Transcribe after another; every last word is sent here
recording     a recording as the model hears it: read in bounds, one channel, 16 kHz, on disk
readers       what reads which kind of file: libsndfile, or the ffmpeg program
resample      any sample rate to 16 kHz, block by block
webm          Opus out of a WebM file into an Ogg file, which libsndfile reads
transcriber   faster-whisper on a recording, piece by piece
without_av    keeps faster-whisper from importing PyAV
memory        what counts as "out of memory"
"""
