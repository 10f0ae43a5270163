"use strict";
// Videos of the examples, made when they are asked for, and links into transcripts.

for (const button of document.querySelectorAll(".play")) {
  button.hidden = false;
  button.addEventListener("click", () => {
    const video = make("video", { controls: true, loop: true, playsinline: true, tabindex: 0,
      "aria-label": `Example video ${button.dataset.video}`, src: `data:video/mp4;base64,${data.videos[button.dataset.file]}` });
    video.muted = true;
    button.replaceWith(video);
    video.focus();
    video.play().catch(() => {}); // browsers may refuse to start it; its own controls are there
  });
}
document.addEventListener("click", (event) => {
  const link = event.target.closest?.('a[href^="#transcript-"]');
  if (link) document.querySelector(link.getAttribute("href")).open = true;
});
