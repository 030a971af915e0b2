// HTML that the site's own templates have rendered and escaped, put into the page.
"use strict";

Object.assign(sessionpersist, {
    parse(html) {
        const template = document.createElement("template");
        template.innerHTML = html;
        return template.content;
    },

    paragraph(text, className) {
        return Object.assign(document.createElement("p"), { textContent: text, className });
    },

    // Gives the old element the attributes of the fresh one. What somebody has folded or unfolded stays so, until the
    // server has another opinion than before.
    takeOver(old, fresh) {
        const kept = old.nodeName === "DETAILS" && old.dataset.open === fresh.dataset.open ? ["open"] : [];
        const names = new Set([...old.getAttributeNames(), ...fresh.getAttributeNames()]);
        for (const name of [...names].filter((each) => !kept.includes(each))) {
            const value = fresh.getAttribute(name);
            if (value === null) {
                old.removeAttribute(name);
            } else if (old.getAttribute(name) !== value) {
                old.setAttribute(name, value);
            }
        }
    },

    // Changes the old element into the fresh one in place, so that the focus stays where it is and a bar moves.
    morph(old, fresh) {
        if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName || old.id !== fresh.id) {
            old.replaceWith(fresh);
            return;
        }
        if (old.nodeType !== Node.ELEMENT_NODE) {
            old.nodeValue = fresh.nodeValue;
            return;
        }
        sessionpersist.takeOver(old, fresh);
        const children = [...fresh.childNodes];
        [...old.childNodes].slice(children.length).forEach((node) => node.remove());
        children.forEach((child, index) => {
            const before = old.childNodes[index];
            if (before) {
                sessionpersist.morph(before, child);
            } else {
                old.append(child);
            }
        });
    },
});
