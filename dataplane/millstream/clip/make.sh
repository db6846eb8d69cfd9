#!/bin/sh
# Makes demo.flv, the clip that `millstream demo` pushes in a loop. Needs ffmpeg with libx264; the result is committed, so that
# building the server does not.
#
# The loop is seamless in length: 512 pictures at 30/s last exactly as long as 735 AAC frames of 1024 samples at 44.1 kHz
# (17.0667 s), which is the shortest such pair. A GOP is 64 pictures (2.13 s), so that the last one is as long as the others, and a
# beep marks the start of each. No B-frames, no audio encoder delay to hide: the AAC encoder's first frame is its priming.
set -eu
cd "$(dirname "$0")"
samples=$((734 * 1024)) # and the priming frame makes 735
ffmpeg -nostdin -hide_banner -loglevel warning -y \
    -f lavfi -i "testsrc=size=640x360:rate=30" \
    -f lavfi -i "aevalsrc='0.25*sin(2*PI*880*t)*lt(mod(t,64/30),0.08)|0.25*sin(2*PI*660*t)*lt(mod(t,64/30),0.08)':s=44100" \
    -map 0:v -map 1:a -map_metadata -1 -fflags +bitexact -flags:v +bitexact -flags:a +bitexact \
    -filter:v "trim=end_frame=512" -filter:a "atrim=end_sample=$samples" \
    -c:v libx264 -profile:v main -preset veryslow -tune animation -bf 0 -crf 22 -maxrate 400k -bufsize 800k \
    -g 64 -keyint_min 64 -sc_threshold 0 -pix_fmt yuv420p \
    -c:a aac -b:a 64k -ar 44100 -ac 2 \
    -flvflags no_duration_filesize -f flv demo.flv
ls -l demo.flv
