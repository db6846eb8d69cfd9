// Gives large streams one smaller rendition.
//
// What a function is given is freed here; what it answers is allocated, and freed by the bindings.
#include "policy_hook.h"

#include <stdlib.h>
#include <string.h>

// The bindings ask for an object with the contract in it. `millstream hook pack` puts the contract in instead.
void __component_type_object_force_link_policy_hook(void) {}

void exports_millstream_hooks_policy_select_renditions(exports_millstream_hooks_policy_source_t *source,
                                                       exports_millstream_hooks_policy_list_rendition_t *chosen) {
    memset(chosen, 0, sizeof *chosen);
    // None: viewers get the stream as it is published.
    if (source->height > 720) {
        exports_millstream_hooks_policy_rendition_t *it = calloc(1, sizeof *it);
        policy_hook_string_dup(&it->name, "720p");
        it->picture.tag = EXPORTS_MILLSTREAM_HOOKS_POLICY_PICTURE_ENCODE;
        exports_millstream_hooks_policy_video_encode_t *video = &it->picture.val.encode;
        policy_hook_string_dup(&video->codec, "h264");
        video->height = 720;
        video->fps_den = 1;
        video->kbps = 2800;
        it->sound.tag = EXPORTS_MILLSTREAM_HOOKS_POLICY_SOUND_COPY;
        it->on_demand = true;
        chosen->ptr = it;
        chosen->len = 1;
    }
    exports_millstream_hooks_policy_source_free(source);
}

void exports_millstream_hooks_meta_describe(exports_millstream_hooks_meta_info_t *info) {
    memset(info, 0, sizeof *info);
    policy_hook_string_dup(&info->name, "{{NAME}}");
    policy_hook_string_dup(&info->version, "0.1.0");
}

// True: it can work with its configuration.
bool exports_millstream_hooks_meta_check_config(policy_hook_string_t *error) {
    (void)error;
    return true;
}
