// What the scripts of the Login Configuration page share, and the one function that asks the server.
//
// Without these scripts everything works too: all fields are shown, the buttons post their forms. They are plain scripts
// and no modules, as a module imports others by names that a storage with hashed names does not know.
"use strict";

window.sessionpersist = {
    GIVE_UP: 10000, // milliseconds: a poll without an answer is one that failed
    PATIENCE: 60000, // a store that fails step by step takes its time
    leaving: false, // nothing is polled while the session may be getting a new key
    draining: 0, // loops that show their progress themselves

    // Has a screen reader say something, once it has finished what it is saying. The page has this one live region, so
    // that all is said in the order in which it happened.
    tell(text) {
        document.querySelector(".sp-told").textContent = text;
    },

    // Returns the answer, or throws an Error with a sentence for staff. The site's own 429 is an answer: it says how
    // long to wait.
    async ask(url, options = {}) {
        const texts = document.querySelector(".sp-status").dataset;
        const signal = AbortSignal.timeout(sessionpersist.GIVE_UP);
        let response;
        try {
            response = await fetch(url, { redirect: "manual", signal, ...options });
        } catch {
            throw new Error(texts.noAnswer);
        }
        const tooOften = response.status === 429 && response.headers.get("Content-Type") === "application/json";
        if (response.ok || tooOften) {
            return response;
        }
        if (response.type === "opaqueredirect" || response.status === 403) {
            throw new Error(texts.loggedOut);
        }
        throw new Error(response.status === 503 ? texts.outage : texts.error.replace("{status}", response.status));
    },

    // Posts a form and returns the JSON that comes back, or throws an Error.
    async post(url, body) {
        const signal = AbortSignal.timeout(sessionpersist.PATIENCE);
        const headers = { Accept: "application/json" };
        const response = await sessionpersist.ask(url, { method: "POST", body, headers, signal });
        return response.json();
    },
};
