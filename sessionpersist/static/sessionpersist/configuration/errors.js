// Errors beside the fields, in the markup that Django itself gives them.
"use strict";

{
    const form = document.getElementById("loginconfiguration_form");

    function describe(input, keep, add = []) {
        const ids = (input.getAttribute("aria-describedby") || "").split(" ").filter((id) => id && keep(id));
        const all = [...ids, ...add].join(" ");
        if (all) {
            input.setAttribute("aria-describedby", all);
        } else {
            input.removeAttribute("aria-describedby");
        }
    }

    function listOf(messages) {
        const list = document.createElement("ul");
        list.className = "errorlist";
        for (const { message } of messages) {
            list.append(Object.assign(document.createElement("li"), { textContent: message }));
        }
        return list;
    }

    function clear(input) {
        input.removeAttribute("aria-invalid");
        describe(input, (id) => id !== `${input.id}_error`);
    }

    Object.assign(sessionpersist, {
        clearErrors() {
            form.querySelectorAll(".errorlist, .errornote").forEach((node) => node.remove());
            form.querySelectorAll(".sp-field.errors").forEach((node) => node.classList.remove("errors"));
            form.querySelectorAll("[aria-invalid]").forEach(clear);
        },

        clearErrorsOf(input) {
            const row = input.closest(".sp-field, .sp-types");
            row?.querySelectorAll(".errorlist").forEach((list) => list.remove());
            row?.classList.remove("errors");
            clear(input);
        },

        showErrors(errors) {
            for (const [name, messages] of Object.entries(errors)) {
                const list = listOf(messages);
                const row = form.querySelector(`[data-field="${name}"]`);
                const input = row && row.querySelector("input, select, textarea");
                if (!input) {
                    form.querySelector(".sp-notes").append(list);
                    continue;
                }
                list.id = `${input.id}_error`;
                row.classList.add("errors");
                row.closest("details")?.setAttribute("open", "");
                row.insertBefore(list, row.querySelector(".sp-help"));
                input.setAttribute("aria-invalid", "true");
                describe(input, () => true, [list.id]);
            }
        },
    });
}
