// The panels below the status: asked for gently, and changed in place.
"use strict";

{
    const { ask, morph, parse, tell, PATIENCE } = sessionpersist;
    const SHORTEST_WAIT = 2000;
    const IDLE_WAIT = 10000; // where nothing is going on
    const page = document.querySelector(".sp-page");
    const panels = document.querySelector(".sp-panels");
    const handover = document.getElementById("sp-handover");
    const outdated = panels.querySelector(".sp-outdated");
    let lookedAt = new Date();
    let nextLook;

    async function look() {
        clearTimeout(nextLook);
        if (document.hidden || sessionpersist.leaving || sessionpersist.draining) {
            return; // it is called again when that is over
        }
        const begun = performance.now();
        let wait = IDLE_WAIT;
        try {
            const response = await ask(panels.dataset.url, { signal: AbortSignal.timeout(PATIENCE) });
            const fresh = parse(await response.text());
            if (sessionpersist.draining) {
                return;
            }
            const before = handover.dataset.over;
            for (const part of [...fresh.children]) {
                morph(document.getElementById(part.id), part);
            }
            if (handover.dataset.over && !before) {
                tell(handover.dataset.over);
            }
            wait = handover.dataset.lively === "yes" ? SHORTEST_WAIT : IDLE_WAIT;
            lookedAt = new Date();
            page.classList.remove("sp-is-outdated");
            outdated.textContent = "";
        } catch {
            page.classList.add("sp-is-outdated");
            const when = lookedAt.toLocaleTimeString(document.documentElement.lang);
            outdated.textContent = outdated.dataset.text.replace("{time}", when); // what is shown stays
        }
        clearTimeout(nextLook);
        nextLook = setTimeout(look, Math.max(wait, 5 * (performance.now() - begun)));
    }

    document.addEventListener("visibilitychange", look);
    document.addEventListener("sp-back", look);
    document.addEventListener("sp-drained", look);
    look();
}
