// Pages of a pool, as decoders of one model share them.
#include <criterion/criterion.h>

#include "kvcache/kvcache.h"
#include "tests/support/life.h"
#include "tests/support/support.h"

Test(store, decoders_share_the_pages_of_what_they_have_in_common)
{
    life *x = life_begin("all", 16, true);
    cr_assert_eq(life_rows_of_step(x, 0, x->texts[0], 200, 1), 200);
    cr_assert_eq(life_rows_of_step(x, 1, x->texts[0], 200, 1), 200 - 12 * 16); // 12 pages are full
    cr_assert_eq(x->pool.found, 12);
    cr_assert_eq(pool_references(&x->pool), 2 * 13);
    for (size_t i = 0; i < 12; i++)
        cr_assert_eq(x->pool.blocks[i].references, 2);
    // Rows whose logits are wanted are computed, shared or not.
    kvcache_decoder.reset(x->cached[1]);
    cr_assert_eq(life_rows_of_step(x, 1, x->texts[0], 200, 200), 200);
    // Text 2 parts from it after 70 tokens, 4 pages; another namespace shares nothing.
    kvcache_decoder.reset(x->cached[1]);
    cr_assert_eq(life_rows_of_step(x, 1, x->texts[2], 100, 2), 100 - 4 * 16);
    x->o.space = "another";
    kvcache_decoder.destroy(x->cached[1]);
    x->cached[1] = life_make(&kvcache_decoder, x);
    cr_assert_eq(life_rows_of_step(x, 1, x->texts[0], 200, 1), 200);
    life_end(x);
}

Test(store, a_shared_page_is_copied_before_it_is_written)
{
    life *x = life_begin("all", 64, true);
    life_check(x, 0, x->texts[0], 140, 1);
    life_check(x, 1, x->texts[0], 140, 1);
    // Rows 64 to 69 of the second page stay; the others become text 2's, in a copy.
    cr_assert_eq(life_rows_of_step(x, 1, x->texts[2], 100, 1), 30);
    cr_assert_eq(life_rows_of_step(x, 0, x->texts[0], 141, 1), 1);
    kvcache_decoder.reset(x->cached[1]);
    cr_assert_eq(life_rows_of_step(x, 1, x->texts[0], 141, 1), 13);
    life_end(x);
}

Test(store, a_pool_that_runs_out_changes_nothing)
{
    life *x = life_begin("all", 16, true);
    const float *logits;
    life_check(x, 0, x->texts[0], 100, 1);
    life_check(x, 1, x->texts[1], 96, 1);
    const size_t references = pool_references(&x->pool),
                 bytes = kvcache_decoder.bytes(x->cached[0]);
    x->pool.left = 1;
    // Pages of text 1 are found behind the common prefix before one is missing.
    status s = kvcache_decoder.step(x->cached[0], x->texts[1], 150, 1, &logits);
    support_assert_refused(s, "no page is left in the pool for 150 tokens|more memory, or end");
    cr_assert_eq(x->pool.left, 1);
    cr_assert_eq(pool_references(&x->pool), references);
    cr_assert_eq(kvcache_decoder.bytes(x->cached[0]), bytes);
    life_check_held(x, 0, 100);
    cr_assert_eq(life_rows_of_step(x, 0, x->texts[0], 105, 1), 5);
    x->pool.left = 40;
    life_check(x, 0, x->texts[1], 150, 1);
    life_end(x);
}

// The one that published first goes, and its blocks are taken for other texts.
Test(store, a_page_computed_twice_is_found_once)
{
    life *x = life_begin("all", 16, true);
    life_check(x, 0, x->texts[0], 20, 20);
    life_check(x, 1, x->texts[0], 40, 40); // computes page 0 as well
    kvcache_decoder.reset(x->cached[0]);
    cr_assert_eq(life_rows_of_step(x, 0, x->texts[0], 60, 1), 60 - 16);
    life_check(x, 1, x->texts[1], 60, 1);
    life_check(x, 1, x->texts[0], 60, 1);
    life_end(x);
}
