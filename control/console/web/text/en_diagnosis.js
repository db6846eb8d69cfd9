// The names of what can be wrong with a stream, in English. The sentences are the API's own.
export default {
  condition_since: 'for {time}',
  condition_gop_too_long: 'Long GOP',
  condition_timestamps_jump: 'Timestamps jump',
  condition_uplink_starves: 'Uplink too slow',
  condition_b_frames: 'B-frames add delay',
  condition_audio: 'Audio',
  condition_bitrate_above_viewers: 'Bitrate too high for viewers',
  condition_encoder_reconnects: 'Encoder reconnects',
  condition_publisher_replaced: 'Publisher replaced',
  condition_hook: 'Hook',
  condition_recording_paused: 'Recording paused',
  condition_worker_sheds: 'Renditions not made',
  condition_viewers_lag: 'Viewers lag',
};
