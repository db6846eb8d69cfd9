// Tells when a picture becomes dark, and when it is bright again.
//
// What a function is given is freed here; what it answers is allocated, and freed by the bindings.
#include "motion_hook.h"

#include <string.h>

// The bindings ask for an object with the contract in it. `millstream hook pack` puts the contract in instead.
void __component_type_object_force_link_motion_hook(void) {}

// One instance sees all frames of a stream, so it can remember.
static bool is_dark;

// True: it wants frames like these. False: it does not want the stream, and `error` says why.
bool exports_millstream_hooks_motion_start(exports_millstream_hooks_motion_source_t *source,
                                           exports_millstream_hooks_motion_wanted_t *wanted, motion_hook_string_t *error) {
    (void)error;
    is_dark = false;
    wanted->width = 160;
    wanted->height = 90;
    wanted->fps = 2;
    exports_millstream_hooks_motion_source_free(source);
    return true;
}

// True: something has changed. Changes are told, not states.
bool exports_millstream_hooks_motion_on_frame(motion_hook_list_u8_t *luma, uint32_t width, uint32_t height,
                                              uint64_t pts_ms, exports_millstream_hooks_motion_event_t *event) {
    (void)width, (void)height, (void)pts_ms;
    uint32_t sum = 0;
    for (size_t n = 0; n < luma->len; n++) sum += luma->ptr[n];
    uint32_t mean = luma->len ? sum / luma->len : 0;
    motion_hook_list_u8_free(luma);
    bool was = is_dark;
    is_dark = mean < 24 || (was && mean <= 32);
    if (is_dark == was) return false;
    memset(event, 0, sizeof *event);
    event->active = is_dark;
    event->score = 1 - mean / 255.0f;
    motion_hook_string_dup(&event->label, "dark");
    return true;
}

void exports_millstream_hooks_meta_describe(exports_millstream_hooks_meta_info_t *info) {
    memset(info, 0, sizeof *info);
    motion_hook_string_dup(&info->name, "{{NAME}}");
    motion_hook_string_dup(&info->version, "0.1.0");
}

// True: it can work with its configuration.
bool exports_millstream_hooks_meta_check_config(motion_hook_string_t *error) {
    (void)error;
    return true;
}
