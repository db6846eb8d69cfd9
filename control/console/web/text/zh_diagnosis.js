// The names of what can be wrong with a stream, in Chinese; `zh_sentences.js` has the sentences.
export default {
  condition_since: '已持续 {time}',
  condition_gop_too_long: '关键帧间隔过长',
  condition_timestamps_jump: '时间戳跳变',
  condition_uplink_starves: '上行过慢',
  condition_b_frames: 'B 帧增加延迟',
  condition_audio: '音频',
  condition_bitrate_above_viewers: '码率超过观众带宽',
  condition_encoder_reconnects: '编码器反复重连',
  condition_publisher_replaced: '推流端被替换',
  condition_hook: '钩子',
  condition_recording_paused: '录制已暂停',
  condition_worker_sheds: '部分转码未生成',
  condition_viewers_lag: '观众播放滞后',
};
