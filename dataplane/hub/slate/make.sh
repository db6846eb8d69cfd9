#!/bin/sh
# Makes slate.flv, the built-in slate: what viewers see while a publisher is away, where `on_unpublish = "slate"` names no file. Needs
# ffmpeg with libx264 and libfreetype, and the DejaVu fonts; the result is committed, so that building the server does not.
#
# Two seconds at 15/s with one keyframe, which is the length of a usual HLS segment. No B-frames and no sound: the server adds silence
# where the stream has a sound track.
set -eu
cd "$(dirname "$0")"
font=/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf
text="drawtext=fontfile=$font:text='The stream will be back shortly':fontsize=30:fontcolor=0xe6e6e6:x=(w-tw)/2:y=(h-th)/2-14"
dots="drawbox=x=300:y=200:w=8:h=8:color=0x7a8699:t=fill:enable='lt(t,0.5)+gte(t,1.5)'"
dots="$dots,drawbox=x=316:y=200:w=8:h=8:color=0x7a8699:t=fill:enable='between(t,0.5,0.97)+gte(t,1.5)'"
dots="$dots,drawbox=x=332:y=200:w=8:h=8:color=0x7a8699:t=fill:enable='between(t,1.0,1.47)+gte(t,1.5)'"
ffmpeg -nostdin -hide_banner -loglevel warning -y \
    -f lavfi -i "color=c=0x14181f:size=640x360:rate=15:duration=2" -vf "$text,$dots" \
    -map_metadata -1 -fflags +bitexact -flags:v +bitexact \
    -c:v libx264 -profile:v high -preset veryslow -tune stillimage -bf 0 -crf 24 -g 30 -keyint_min 30 -sc_threshold 0 -pix_fmt yuv420p -an \
    -flvflags no_duration_filesize -f flv slate.flv
ls -l slate.flv
