// Lets viewers in who bring the right ticket: ?ticket=... in the play URL. Publishers are left to the next step.
//
// What a function is given is freed here; what it answers is allocated (`auth_hook_string_dup`), and freed by the bindings.
#include "auth_hook.h"

#include <stdlib.h>
#include <string.h>

#define SHORT(name) exports_millstream_hooks_auth_##name

// The bindings ask for an object with the contract in it. `millstream hook pack` puts the contract in instead.
void __component_type_object_force_link_auth_hook(void) {}

static bool is(auth_hook_string_t text, const char *other) {
    return text.len == strlen(other) && memcmp(text.ptr, other, text.len) == 0;
}

// The right ticket; false where none is configured.
static bool configured(auth_hook_string_t *ticket) {
    auth_hook_string_t key;
    auth_hook_string_set(&key, "ticket");
    return millstream_hooks_host_config(&key, ticket) && ticket->len > 0;
}

void exports_millstream_hooks_auth_authorize(SHORT(request_t) *request, SHORT(step_t) *step) {
    memset(step, 0, sizeof *step);
    if (!is(request->action, "play")) {
        step->tag = EXPORTS_MILLSTREAM_HOOKS_AUTH_STEP_NEXT;
    } else {
        step->tag = EXPORTS_MILLSTREAM_HOOKS_AUTH_STEP_DENY;
        auth_hook_string_t right;
        bool has_right = configured(&right);
        for (size_t n = 0; has_right && n < request->target.params.len; n++) {
            auth_hook_string_t given = request->target.params.ptr[n].value;
            auth_hook_list_u8_t a = {given.ptr, given.len}, b = {right.ptr, right.len};
            if (is(request->target.params.ptr[n].name, "ticket") && millstream_hooks_host_equal(&a, &b)) {
                step->tag = EXPORTS_MILLSTREAM_HOOKS_AUTH_STEP_ALLOW;
            }
        }
        if (step->tag == EXPORTS_MILLSTREAM_HOOKS_AUTH_STEP_DENY) {
            auth_hook_string_t line;
            auth_hook_string_set(&line, "somebody has no right ticket");
            millstream_hooks_host_log(MILLSTREAM_HOOKS_HOST_LEVEL_INFO, &line);
            auth_hook_string_dup(&step->val.deny.why, "unauthenticated");
            auth_hook_string_dup(&step->val.deny.reason, "this stream needs a ticket");
        }
    }
    exports_millstream_hooks_auth_request_free(request);
}

// For hooks that answer "ask": the upstream has answered.
void exports_millstream_hooks_auth_resume(SHORT(request_t) *request, auth_hook_list_u8_t *state,
                                          SHORT(result_reply_string_t) *outcome, SHORT(step_t) *step) {
    memset(step, 0, sizeof *step);
    step->tag = EXPORTS_MILLSTREAM_HOOKS_AUTH_STEP_NEXT;
    exports_millstream_hooks_auth_request_free(request);
    auth_hook_list_u8_free(state);
    exports_millstream_hooks_auth_result_reply_string_free(outcome);
}

void exports_millstream_hooks_meta_describe(exports_millstream_hooks_meta_info_t *info) {
    memset(info, 0, sizeof *info);
    auth_hook_string_dup(&info->name, "{{NAME}}");
    auth_hook_string_dup(&info->version, "0.1.0");
    exports_millstream_hooks_meta_setting_t *ticket = calloc(1, sizeof *ticket);
    auth_hook_string_dup(&ticket->name, "ticket");
    auth_hook_string_dup(&ticket->about, "What viewers must bring.");
    auth_hook_string_dup(&ticket->kind, "text");
    ticket->required = true;
    info->settings.ptr = ticket;
    info->settings.len = 1;
}

// True: it can work with its configuration.
bool exports_millstream_hooks_meta_check_config(auth_hook_string_t *error) {
    auth_hook_string_t ticket;
    if (configured(&ticket)) return true;
    auth_hook_string_dup(error, "set ticket to what viewers must bring");
    return false;
}
