// The words of the report: for each picture what it shows, and the theory beside it. All of it is
// HTML of our own.
#include "bench/report/report.h"

enum {
    ATTENTION,
    CONTEXT,
    LONGCONTEXT,
    LAYERS,
    GENERATE,
    MEMORY,
    THROUGHPUT,
    CROSSOVER
}; // as in experiments[]

const story report_stories[REPORT_STORIES] = {
    {.of = REPORT_SWEEP,
     .id = "step",
     .title = "One more token",
     .question = "What does one more token cost, with a cache and without?",
     .metric = "step",
     .shows = "Time of one step against the context, on logarithmic axes: without a cache it rises "
              "with the context, "
              "with one it is nearly flat",
     .formula =
         "naive: <var>T</var>&#8239;(4<var>C</var>&#178; + 2<var>CF</var>)&#8239;<var>L</var> + "
         "<var>T</var>&#8239;(<var>T</var> + 1)&#8239;<var>CL</var> + <var>VC</var><br>"
         "cached: (4<var>C</var>&#178; + 2<var>CF</var>)&#8239;<var>L</var> + 2<var>TCL</var> + "
         "<var>VC</var>"
         "<br>multiply-adds of a step over <var>T</var> = <var>t</var> + 1 tokens",
     .theory = "A new token is a new row, and it attends to the keys and values of all rows before "
               "it. Those never "
               "change, for no row looks ahead. The naive decoder computes them all again, "
               "<var>T</var> rows for one. "
               "The cached one has kept them and computes a single row. The three terms are the "
               "linear layers, "
               "attention and the logits. So the naive step grows at least in proportion to the "
               "context, while the "
               "cached one is nearly flat: most of its time goes into reading the weights once, at "
               "any context."},
    {.of = REPORT_SWEEP,
     .id = "speedup",
     .title = "The speed-up",
     .question = "By what factor does a cache make a step faster?",
     .metric = "step",
     .shows = "Time of a naive step over that of a cached one, against the context: it rises "
              "nearly in proportion",
     .formula = "speed-up at <var>t</var> = time of a naive step at <var>t</var> / time of a "
                "cached step at "
                "<var>t</var>",
     .theory = "By counting alone, the linear layers would become <var>T</var> = <var>t</var> + 1 "
               "times cheaper, "
               "attention about half as many times, the logits not at all. The factor is smaller, "
               "because what "
               "remains does not run at the processor&#8217;s speed but at the memory&#8217;s. The "
               "naive step uses "
               "each weight that it has read for many rows, the cached step for one. The interval "
               "goes from "
               "the worst to the best ratio that the intervals of both medians allow, so it is "
               "wider than 95 %."},
    {.of = REPORT_SWEEP,
     .id = "ttft",
     .title = "The first token",
     .question = "How long does a prompt take until its first token is there?",
     .metric = "ttft",
     .shows = "Time to the first token against the length of the prompt: both decoders lie on one "
              "rising line",
     .formula = "<var>t</var>&#8239;(4<var>C</var>&#178; + 2<var>CF</var>)&#8239;<var>L</var> + "
                "<var>t</var>&#8239;(<var>t</var> + 1)&#8239;<var>CL</var> + <var>VC</var> "
                "multiply-adds, in both "
                "decoders",
     .theory =
         "A cache is empty when the prompt comes, so it cannot help: both decoders do the same "
         "work with the "
         "same code, and a gap between the two curves would mean an unfair comparison. Every row "
         "passes through "
         "every matrix once, and attends to itself and to the rows before it, on average to half "
         "of them. "
         "The slope is 1 while the matrices are most of the work. It would bend towards 2 beyond "
         "4<var>C</var> + 2<var>F</var> tokens, where attention overtakes them."},
    {.of = REPORT_SWEEP,
     .id = "memory",
     .title = "The price",
     .question = "How much memory does a cache take?",
     .shows = "Bytes of keys and values, and of the rows that the naive decoder holds while it "
              "computes, against the "
              "context: both rise in proportion",
     .formula = "2 &#215; 4 bytes &#215; <var>t</var> &#215; <var>C</var> &#215; <var>L</var>",
     .theory = "For each token, each layer keeps one key and one value of <var>C</var> numbers, "
               "four bytes each. This "
               "is the price of the cache, and it grows in proportion to the context. The naive "
               "decoder keeps nothing "
               "between steps but needs memory as well, for all the rows that it computes at once. "
               "Both columns follow "
               "from the shape of the model: nothing is measured here, but in "
               "<a href=\"#curve-memory\">The memory of a process</a>."},
    {.of = ATTENTION,
     .id = "curve-attention",
     .title = "Attention alone",
     .shows = "Time of attention alone against the context, on logarithmic axes: steep without a "
              "cache, half as steep "
              "with one, each beside a grey line of slope 2 or 1",
     .formula =
         "naive: <var>T</var>&#8239;(<var>T</var> + 1)&#8239;<var>CL</var> = "
         "<var>O</var>(<var>t</var>&#178;&#8239;<var>L</var>), &#8195;cached: 2<var>TCL</var> = "
         "<var>O</var>(<var>t</var>&#8239;<var>L</var>)",
     .theory = "The textbook&#8217;s <var>O</var>(<var>t</var>&#178;<var>L</var>) and "
               "<var>O</var>(<var>tL</var>) are statements about attention: a score for each pair "
               "of tokens, or for "
               "each pair of the new token with an old one. With two logarithmic axes, a power "
               "<var>t</var>"
               "<sup><var>p</var></sup> is a straight line of slope <var>p</var>. Each row also "
               "has costs that do not "
               "depend on how many keys it sees. So the naive slope comes up to 2 from below, and "
               "whoever measures "
               "only short contexts finds 1.5. Slopes are fitted only where one level of the "
               "memory holds what a "
               "cached step reads: else a byte itself costs more at one end than at the other."},
    {.of = CONTEXT,
     .id = "curve-context",
     .title = "A model of real size",
     .shows = "Time of a whole step, and of its attention alone, against the context: attention is "
              "a small part of the "
              "step, and hides below it",
     .formula = "slope of <var>a</var> + <var>bt</var> + <var>ct</var>&#178; at <var>t</var>: "
                "(<var>bt</var> + 2<var>ct</var>&#178;) / (<var>a</var> + <var>bt</var> + "
                "<var>ct</var>&#178;)",
     .theory = "A stopwatch sees the whole step, of which attention is a part. A sum of powers is "
               "no power: its slope "
               "is the mean of its terms&#8217; slopes, each weighted by its share. For GPT-2 124M "
               "at 1024 tokens the "
               "linear layers are nine tenths of the naive step&#8217;s multiply-adds, so theory "
               "itself expects about "
               "1.1 and 0.1, not 2 and 1. This is not a failure of the textbook: it speaks of the "
               "limit, and the "
               "context of this model ends long before."},
    {.of = LONGCONTEXT,
     .id = "curve-longcontext",
     .title = "A long context",
     .shows = "Time of a whole step, and of its attention alone, in a narrow model with a long "
              "context: the whole step "
              "bends towards the slope of its attention",
     .formula = "<var>t</var> &#8811; 4<var>C</var> + 2<var>F</var>: &#8195;step &#8594; "
                "<var>ct</var>&#178; without a cache, <var>bt</var> with one",
     .theory = "With few channels and thousands of tokens, attention is most of the work, and the "
               "whole step bends "
               "from slope 1 towards 2 without a cache, and from 0 towards 1 with one. Compare "
               "each measured slope "
               "with the counted one, which is that of the multiply-adds at the very same "
               "contexts. What remains "
               "between the two is the machine: caches that fill up, and costs of a row that no "
               "multiply-add counts."},
    {.of = LAYERS,
     .id = "curve-layers",
     .title = "The number of layers",
     .shows = "Time of a step against the number of layers: straight lines of slope 1, until the "
              "weights leave a cache",
     .formula = "time = <var>a</var> + <var>b</var>&#8239;<var>L</var>",
     .theory = "Layers come one after the other, and each does the same work on rows of the same "
               "size: this is the "
               "<var>L</var> of <var>O</var>(<var>t</var>&#178;<var>L</var>). The constant "
               "<var>a</var> is what a step "
               "does outside of them, the embedding and the logits. Where the weights of all "
               "layers no longer fit into "
               "one cache, a layer costs more than before. That is the machine and not the "
               "algorithm, and so the fit "
               "ends there."},
    {.of = GENERATE,
     .id = "curve-generate",
     .title = "A whole text",
     .shows = "Total time against the number of tokens generated: the naive total has about twice "
              "the slope of the "
              "cached one",
     .formula =
         "total(<var>n</var>) = step(1) + step(2) + &#8230; + step(<var>n</var> &#8722; 1), &#8195;"
         "1 + 2 + &#8230; + <var>n</var> &#8776; <var>n</var>&#178; / 2",
     .theory =
         "This is what a user waits for. A sum over <var>n</var> steps has one power more than a "
         "step: a step in "
         "proportion to <var>t</var> gives a text in proportion to <var>n</var>&#178;, and a "
         "constant step gives "
         "a text in proportion to <var>n</var>. So a cache turns a slope of about 2 into one of "
         "about 1, long "
         "before attention is a cost worth mentioning. Where attention rules, it is 3 and 2."},
    {.of = MEMORY,
     .id = "curve-memory",
     .title = "The memory of a process",
     .shows = "Memory of a process beside the model, measured and counted, against the context: "
              "straight lines once "
              "they are above a few large pages",
     .formula = "held = activations of <var>t</var> rows + 2 &#215; 4 bytes &#215; <var>t</var> "
                "&#215; <var>C</var> "
                "&#215; <var>L</var> (naive: of one layer at a time)",
     .theory = "Each value is the peak of a process of its own that computes a prompt of "
               "<var>t</var> tokens, asked of "
               "the operating system; <i>held</i> is what it has beyond a process that only loaded "
               "the model. Systems "
               "hand out memory in pages, the large ones of 2 MiB, so short contexts cost more "
               "than was counted. "
               "Beyond a few pages both grow in proportion to the context."},
    {.of = THROUGHPUT,
     .id = "curve-throughput",
     .title = "Tokens per second",
     .shows =
         "Tokens per second against the context: falling without a cache, nearly level with one",
     .formula = "tokens per second = 1 / time of one token",
     .theory = "The same seen the other way round, over windows of 16 tokens: how fast text comes. "
               "Without a cache the "
               "speed falls as the text grows. With one it stays, until keys and values weigh as "
               "much as the weights: "
               "each token must read both from memory, and no algorithm that reads them is faster "
               "than the memory."},
    {.of = CROSSOVER,
     .id = "curve-crossover",
     .title = "Where attention overtakes",
     .shows = "Time of the linear layers and of attention, each alone, against the context: the "
              "two cross once for "
              "each decoder",
     .formula = "equal counts: &#8195;naive at <var>T</var> = 4<var>C</var> + 2<var>F</var> "
                "&#8722; 1, &#8195;cached at "
                "<var>T</var> = 2<var>C</var> + <var>F</var>",
     .theory = "The linear layers cost the same for each row, attention costs more with each key. "
               "A row&#8217;s "
               "matrices take 4<var>C</var>&#178; + 2<var>CF</var> multiply-adds in a layer and "
               "2<var>C</var> for "
               "each key that it sees. A cached row sees all keys, a row of the naive step half of "
               "them on average, "
               "so its crossing comes twice as late. The measured crossing comes earlier than the "
               "counted one, "
               "where a multiply-add of attention takes longer. GPT-2 124M would cross at 9215 "
               "tokens without a "
               "cache, nine times its context."},
    {.of = REPORT_ROOFLINE,
     .id = "roofline",
     .title = "The roofline",
     .shows = "Speed of each part against its arithmetic intensity, below a roof that first rises "
              "with the bandwidth "
              "of memory and then is flat at the peak: prefill lies near the flat roof, cached "
              "steps on the slope",
     .formula = "speed &#8804; min(peak, intensity &#215; bandwidth), &#8195;intensity = "
                "operations / bytes",
     .theory = "Two limits hold for any program: how fast the processor multiplies and adds, and "
               "how fast memory "
               "delivers. Which one counts is decided by how many operations are done with each "
               "byte that was read. A "
               "prefill uses each weight for all its rows, and stands below the flat roof. A "
               "cached step uses each "
               "weight once, and stands on the slope. So a cache saves nearly all operations of a "
               "step and few of its "
               "bytes: this picture is why the speed-up is smaller than the context."},
};
