// Writes what happens to its log, and puts a marker into a stream when its publisher comes.
//
// What a function is given is freed here; what it answers is allocated, and freed by the bindings.
#include "event_hook.h"

#include <stdlib.h>
#include <string.h>

// The bindings ask for an object with the contract in it. `millstream hook pack` puts the contract in instead.
void __component_type_object_force_link_event_hook(void) {}

static bool is(event_hook_string_t text, const char *other) {
    return text.len == strlen(other) && memcmp(text.ptr, other, text.len) == 0;
}

static void copy(event_hook_string_t *to, event_hook_string_t from) {
    event_hook_string_dup_n(to, (const char *)from.ptr, from.len);
}

void exports_millstream_hooks_events_on_notices(exports_millstream_hooks_events_list_notice_t *notices,
                                                exports_millstream_hooks_events_list_order_t *orders) {
    memset(orders, 0, sizeof *orders);
    orders->ptr = calloc(notices->len, sizeof *orders->ptr);
    for (size_t n = 0; n < notices->len; n++) {
        exports_millstream_hooks_events_notice_t *notice = &notices->ptr[n];
        millstream_hooks_host_log(MILLSTREAM_HOOKS_HOST_LEVEL_INFO, &notice->kind);
        event_hook_string_t name;
        event_hook_string_set(&name, "notices");
        millstream_hooks_host_count(&name, 1);
        // At most 64 orders at once.
        if (is(notice->kind, "publish-start") && orders->len < 64) {
            exports_millstream_hooks_events_order_t *order = &orders->ptr[orders->len++];
            event_hook_string_dup(&order->kind, "marker");
            copy(&order->app, notice->target.app);
            copy(&order->name, notice->target.name);
            order->detail.ptr = calloc(1, sizeof *order->detail.ptr);
            order->detail.len = 1;
            event_hook_string_dup(&order->detail.ptr->name, "said");
            event_hook_string_dup(&order->detail.ptr->value, "hello");
        }
    }
    exports_millstream_hooks_events_list_notice_free(notices);
}

void exports_millstream_hooks_meta_describe(exports_millstream_hooks_meta_info_t *info) {
    memset(info, 0, sizeof *info);
    event_hook_string_dup(&info->name, "{{NAME}}");
    event_hook_string_dup(&info->version, "0.1.0");
}

// True: it can work with its configuration.
bool exports_millstream_hooks_meta_check_config(event_hook_string_t *error) {
    (void)error;
    return true;
}
