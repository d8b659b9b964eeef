// Cases, and what became of them, for spec/support/child.lua.

const DEADLINE = 60_000; // ms a case may take: some try hundreds of connections

/** Runs cases one after another and prints "ok NAME" or "not ok NAME: WHY". */
export async function run(cases) {
  for (const [name, body] of Object.entries(cases)) {
    let timer;
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error(`not done in ${DEADLINE} ms`)), DEADLINE);
    });
    try {
      await Promise.race([body(), late]);
      console.log(`ok ${name}`);
    } catch (error) {
      console.log(`not ok ${name}: ${error.stack ?? error}`);
    } finally {
      clearTimeout(timer);
    }
  }
}
