/* Bodies in memory: what is shown, what is taken, who frees. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/types.h"
#include "runtime/body.h"

static int released;

static void release(void *arg)
{
    released++;
    free(arg);
}

static void a_copy_outlives_its_source(void **state)
{
    (void)state;
    char source[] = "0123456789";
    const void *data = NULL;
    struct body *b = body_copy(source, 10);
    assert_non_null(b);
    memset(source, 'x', sizeof(source));
    assert_int_equal(b->ops->peek(b, &data, 4), 4);
    assert_memory_equal(data, "0123", 4);
    assert_int_equal(b->ops->peek(b, &data, 100), 10); /* not advanced: again from the start */
    b->ops->advance(b, 7);
    assert_int_equal(b->ops->peek(b, &data, 100), 3);
    assert_memory_equal(data, "789", 3);
    b->ops->advance(b, 3);
    assert_int_equal(b->ops->peek(b, &data, 1), 0);
    assert_int_equal(b->ops->peek(b, &data, 1), 0);
    b->ops->close(b);
}

static void an_empty_body_is_at_its_end(void **state)
{
    (void)state;
    const void *data = NULL;
    struct body *b = body_copy(NULL, 0);
    assert_non_null(b);
    assert_int_equal(b->ops->peek(b, &data, 1), 0);
    b->ops->close(b);
}

static void borrowed_bytes_are_shown_in_place_and_released_once(void **state)
{
    (void)state;
    char *source = malloc(5);
    const void *data = NULL;
    assert_non_null(source);
    memcpy(source, "bytes", 5);
    struct body *b = body_borrow(source, 5, release, source);
    assert_non_null(b);
    assert_int_equal(b->ops->peek(b, &data, 100), 5);
    assert_ptr_equal(data, source);
    b->ops->advance(b, 2);
    assert_int_equal(released, 0);
    b->ops->close(b); /* before its end: a client left */
    assert_int_equal(released, 1);

    b = body_borrow("static", 6, NULL, NULL);
    assert_non_null(b);
    b->ops->close(b);
}

static void a_length_that_no_memory_holds_is_refused(void **state)
{
    (void)state;
    assert_null(body_copy("", SIZE_MAX));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_copy_outlives_its_source),
        cmocka_unit_test(an_empty_body_is_at_its_end),
        cmocka_unit_test(borrowed_bytes_are_shown_in_place_and_released_once),
        cmocka_unit_test(a_length_that_no_memory_holds_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
