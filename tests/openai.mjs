// The official client of OpenAI's API against build/kvcache --serve: tests/openai.sh runs it.
import assert from 'node:assert'
import OpenAI from 'openai'

const client = new OpenAI({ baseURL: process.argv[2], apiKey: 'none', maxRetries: 0 })
const models = await client.models.list()
const model = models.data[0].id
const asked = { model, prompt: 'ROMEO:', max_tokens: 8 }
const text = (await client.completions.create(asked)).choices[0].text
assert.equal(text, '\nI have a gentleman')

const messages = [{ role: 'user', content: 'Speak of the people and of Rome, in a few words.' }]
const chat = { model, messages, max_tokens: 12, user: 'me' }
const first = await client.chat.completions.create(chat)
const again = await client.chat.completions.create(chat)
assert.equal(first.usage.prompt_tokens_details.cached_tokens, 0)
assert.equal(again.usage.prompt_tokens_details.cached_tokens,
             Math.floor((first.usage.prompt_tokens - 1) / 16) * 16)
assert(again.usage.prompt_tokens_details.cached_tokens > 0)

let whole = '', usage
const stream = await client.chat.completions.create(
  { ...chat, stream: true, stream_options: { include_usage: true } })
for await (const piece of stream) {
  whole += piece.choices[0]?.delta.content ?? ''
  usage = piece.usage ?? usage
}
assert.equal(whole, first.choices[0].message.content)
assert.equal(usage.completion_tokens, 12)
await assert.rejects(client.completions.create({ ...asked, temperature: 3 }),
                     e => e.status === 400 && e.param === 'temperature')
await assert.rejects(client.completions.create({ ...asked, model: 'gpt-4' }),
                     e => e.status === 404 && e.code === 'model_not_found')
console.log('openai: completions, chat, stream, models and errors are understood by the client')
