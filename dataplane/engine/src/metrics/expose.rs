//! `/metrics`: the shards' numbers as OpenMetrics text. No label grows with streams or viewers.
use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::{Counter, Gauge, Histogram, Reasons, ShardStats};
use crate::config::MoreMetrics;

/// The text for these shards, and what else there is.
pub(crate) fn render(shards: &[Arc<ShardStats>], more: Option<&MoreMetrics>) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Shards(shards.to_vec())));
    let mut out = String::new();
    text::encode_registry(&mut out, &registry)?;
    out.push_str(&more.map(MoreMetrics::text).unwrap_or_default());
    text::encode_eof(&mut out)?;
    Ok(out)
}

#[derive(Debug)]
struct Shards(Vec<Arc<ShardStats>>);

type Of<T> = fn(&ShardStats) -> &T;

impl Shards {
    fn gauge(&self, out: &mut DescriptorEncoder<'_>, name: &str, help: &str, of: Of<Gauge>) -> fmt::Result {
        let mut metric = out.encode_descriptor(name, help, None, MetricType::Gauge)?;
        self.each(|shard, stats| metric.encode_family(&[("shard", shard)])?.encode_gauge(&of(stats).get()))
    }

    fn labelled(
        &self,
        out: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        label: &str,
        of: fn(&ShardStats) -> Vec<(&'static str, &Gauge)>,
    ) -> fmt::Result {
        let mut metric = out.encode_descriptor(name, help, None, MetricType::Gauge)?;
        self.each(|shard, stats| {
            of(stats).into_iter().try_for_each(|(value, gauge)| {
                metric.encode_family(&[("shard", shard), (label, value)])?.encode_gauge(&gauge.get())
            })
        })
    }

    fn counter(&self, out: &mut DescriptorEncoder<'_>, name: &str, help: &str, of: Of<Counter>) -> fmt::Result {
        let mut metric = out.encode_descriptor(name, help, None, MetricType::Counter)?;
        self.each(|shard, stats| {
            metric
                .encode_family(&[("shard", shard)])?
                .encode_counter::<[(&str, &str); 0], _, f64>(&of(stats).get(), None)
        })
    }

    fn reasons(&self, out: &mut DescriptorEncoder<'_>, name: &str, help: &str, of: Of<Reasons>) -> fmt::Result {
        let mut metric = out.encode_descriptor(name, help, None, MetricType::Counter)?;
        self.each(|shard, stats| {
            of(stats).get().iter().try_for_each(|(reason, count)| {
                metric
                    .encode_family(&[("shard", shard), ("reason", reason)])?
                    .encode_counter::<[(&str, &str); 0], _, f64>(count, None)
            })
        })
    }

    fn histogram(
        &self,
        out: &mut DescriptorEncoder<'_>,
        (name, unit): (&str, Unit),
        help: &str,
        of: Of<Histogram>,
    ) -> fmt::Result {
        let mut metric = out.encode_descriptor(name, help, Some(&unit), MetricType::Histogram)?;
        self.each(|shard, stats| {
            let (sum, count, buckets) = of(stats).get();
            metric.encode_family(&[("shard", shard)])?.encode_histogram::<[(&str, &str); 0]>(sum, count, &buckets, None)
        })
    }

    fn each(&self, mut show: impl FnMut(&str, &ShardStats) -> fmt::Result) -> fmt::Result {
        self.0.iter().enumerate().try_for_each(|(index, stats)| show(&index.to_string(), stats))
    }
}

impl Collector for Shards {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let out = &mut encoder;
        self.gauge(out, "millstream_streams", "Streams held, on air or waiting for their publisher.", |s| &s.streams)?;
        self.gauge(out, "millstream_slates", "Streams that show their slate.", |s| &s.slates)?;
        let help = "Sessions that publish or play.";
        self.labelled(out, "millstream_sessions", help, "role", |stats| {
            let of_role = stats.viewers().filter_map(|(format, gauge)| Some((format.role?, gauge)));
            [("publisher", &stats.publishers)].into_iter().chain(of_role).collect()
        })?;
        let help = "Viewers by protocol. Those of hls and dash have no session: they are estimated every few seconds, of all shards.";
        self.labelled(out, "millstream_viewers", help, "protocol", |stats| {
            stats.viewers().map(|(format, gauge)| (format.protocol, gauge)).collect()
        })?;
        self.gauge(
            out,
            "millstream_connections",
            "Open connections of publishers and viewers; a further stream on a publisher's connection counts as two.",
            |s| &s.connections,
        )?;
        self.gauge(out, "millstream_mirrors", "Streams of other shards that have viewers here.", |s| &s.mirrors)?;
        self.gauge(out, "millstream_parked_sessions", "Sessions whose verdict is pending.", |s| &s.pending)?;
        self.gauge(out, "millstream_sends_in_flight", "Sends to viewers that the kernel has not answered.", |s| {
            &s.sends_in_flight
        })?;
        let help = "Bytes of memory that the process holds; told by the first shard.";
        self.gauge(out, "millstream_resident_bytes", help, |s| &s.resident_bytes)?;
        self.gauge(out, "millstream_log_bytes", "Bytes in the logs of streams and mirrors.", |s| &s.log_bytes)?;
        self.gauge(out, "millstream_log_blocks", "Blocks in the logs of streams and mirrors.", |s| &s.log_blocks)?;
        self.gauge(out, "millstream_blocked_requests", "Requests for playlists and parts that wait.", |s| {
            &s.hls_blocked
        })?;
        self.gauge(out, "millstream_hls_bytes", "Bytes of HLS and DASH segments held.", |s| &s.hls_bytes)?;
        self.counter(out, "millstream_hls_parts", "Parts made, of all tracks.", |s| &s.hls_parts)?;
        self.counter(out, "millstream_hls_segments", "Segments finished, of all tracks.", |s| &s.hls_segments)?;
        let help = "Frames of sound that HLS and DASH have stretched or left out: the encoder counts samples by another clock than stamps.";
        self.counter(out, "millstream_hls_realigned_frames", help, |s| &s.hls_realigned)?;
        self.counter(out, "millstream_playlist_requests", "Requests for playlists and manifests.", |s| {
            &s.hls_playlists
        })?;
        self.counter(out, "millstream_file_requests", "Requests for headers, segments and parts.", |s| &s.hls_files)?;
        let help = "Reports of players (CMCD) that came too fast to be taken.";
        self.counter(out, "millstream_player_reports_lost", help, |s| &s.players_unheard)?;
        let help = "Answers with recorded files that are under way.";
        self.gauge(out, "millstream_recorded_answers", help, |s| &s.recorded_answers)?;
        self.counter(out, "millstream_recorded_requests", "Requests for recorded files.", |s| &s.recorded_requests)?;
        self.counter(out, "millstream_recorded_sent_bytes", "Bytes of recorded files that the kernel took.", |s| {
            &s.recorded_bytes
        })?;
        let help = "Requests for recorded files that got none, or not all of it, by reason; those that admission refused are not among them.";
        self.reasons(out, "millstream_recorded_refused", help, |s| &s.recorded_refused)?;
        self.counter(out, "millstream_accepted_connections", "Connections accepted.", |s| &s.connections_total)?;
        let help = "TLS handshakes that were finished; those that were not are among the sessions closed, by reason.";
        self.counter(out, "millstream_tls_handshakes", help, |s| &s.tls_handshakes)?;
        self.counter(out, "millstream_http2_connections", "Connections that agreed on HTTP/2.", |s| {
            &s.http2_connections
        })?;
        self.counter(out, "millstream_http2_requests", "Requests on those.", |s| &s.http2_requests)?;
        self.counter(out, "millstream_publishes", "Publish sessions that started.", |s| &s.publishes_total)?;
        let help = "Publishes that waited because their connection begins too many.";
        self.counter(out, "millstream_publishes_slowed", help, |s| &s.publishes_slowed)?;
        self.counter(out, "millstream_slates_started", "Slates that took the place of a publisher.", |s| {
            &s.slates_total
        })?;
        self.counter(out, "millstream_plays", "Play sessions that started.", |s| &s.plays_total)?;
        self.counter(out, "millstream_handovers", "Publishers handed to the shard that owns their stream.", |s| {
            &s.handovers_total
        })?;
        self.counter(out, "millstream_received_bytes", "Bytes received from publishers.", |s| &s.bytes_in)?;
        self.counter(out, "millstream_sent_bytes", "Bytes that the kernel took for viewers.", |s| &s.bytes_out)?;
        self.counter(out, "millstream_video_frames", "Pictures received.", |s| &s.frames_video)?;
        self.counter(out, "millstream_audio_frames", "Sound packets received.", |s| &s.frames_audio)?;
        self.counter(out, "millstream_sends", "Sends to viewers.", |s| &s.sends)?;
        self.counter(out, "millstream_viewer_skips", "Jumps of viewers that fell off the log.", |s| &s.skips)?;
        self.counter(out, "millstream_mirror_skips", "Jumps of mirrors that fell off the owner's log.", |s| {
            &s.mirror_jumps
        })?;
        self.counter(out, "millstream_mailbox_full", "Messages between shards that found no room.", |s| {
            &s.mailbox_full
        })?;
        self.counter(out, "millstream_session_panics", "Sessions that a defect ended.", |s| &s.panics)?;
        self.counter(out, "millstream_handshake_mismatches", "RTMP peers whose C2 was not our S1.", |s| {
            &s.c2_mismatches
        })?;
        self.counter(out, "millstream_timestamp_jumps", "Jumps of publishers' timestamps that were smoothed.", |s| {
            &s.timestamp_jumps
        })?;
        self.counter(out, "millstream_events_lost", "Events for control that found no room.", |s| &s.events_lost)?;
        self.reasons(out, "millstream_dropped", "Frames and messages dropped, by reason.", |s| &s.dropped)?;
        self.reasons(out, "millstream_closed", "Sessions closed, by reason.", |s| &s.closed)?;
        self.reasons(out, "millstream_refused", "Connections and requests refused, by reason.", |s| &s.refused)?;
        self.histogram(out, ("millstream_flush", Unit::Bytes), "Bytes of a flush.", |s| &s.flush_bytes)?;
        self.histogram(
            out,
            ("millstream_added_delay", Unit::Seconds),
            "From a frame's last byte in to the completion of the send that carried it, per send.",
            |s| &s.added_delay,
        )?;
        self.histogram(
            out,
            ("millstream_first_frame", Unit::Seconds),
            "From a viewer's request to the completion of the send with its first keyframe.",
            |s| &s.first_frame,
        )?;
        self.histogram(
            out,
            ("millstream_part_delay", Unit::Seconds),
            "From the arrival of a part's last frame to the completion of the send of that part to a request that waited for it.",
            |s| &s.part_delay,
        )?;
        let mut packaging = out.encode_descriptor(
            "millstream_packaging",
            "Time that the shard spent on cutting streams into parts and segments.",
            Some(&Unit::Seconds),
            MetricType::Counter,
        )?;
        self.each(|shard, stats| {
            packaging
                .encode_family(&[("shard", shard)])?
                .encode_counter::<[(&str, &str); 0], _, f64>(&(stats.packaging_micros.get() as f64 / 1e6), None)
        })?;
        let mut cpu = out.encode_descriptor(
            "millstream_shard_cpu",
            "CPU time of the shard's thread.",
            Some(&Unit::Seconds),
            MetricType::Counter,
        )?;
        self.each(|shard, stats| {
            cpu.encode_family(&[("shard", shard)])?
                .encode_counter::<[(&str, &str); 0], _, f64>(&(stats.cpu_micros.get() as f64 / 1e6), None)
        })
    }
}
