BEGIN TRANSACTION;
CREATE TABLE atlases (
	id INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	definition TEXT NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (name)
);
CREATE TABLE batches (
	id INTEGER NOT NULL, 
	study INTEGER NOT NULL, 
	kind TEXT NOT NULL, 
	setting TEXT NOT NULL, 
	state TEXT NOT NULL, 
	attempts INTEGER NOT NULL, 
	worker TEXT, 
	lease_until DOUBLE, 
	message TEXT, 
	PRIMARY KEY (id), 
	FOREIGN KEY(study) REFERENCES studies (id)
);
INSERT INTO "batches" VALUES(1,1,'training','{"problem":{"task":"quadratic","options":{},"problem":null,"initialize":null,"checkpoints":[],"label":null,"thresholds":null,"alpha":null},"plain":false,"target":0.095,"steps":100000,"patience":5000,"seconds":null,"seed":0}','done',1,NULL,NULL,NULL);
INSERT INTO "batches" VALUES(2,1,'connecting','{"problem":{"task":"quadratic","options":{},"problem":null,"initialize":null,"checkpoints":[],"label":null,"thresholds":null,"alpha":null},"plain":false,"level":0.1,"method":{"name":"greedy","options":{"alpha":0.95,"t_star":"half"}},"certificate":"proved","limits":{"steps":100000,"patience":5000,"beads":1000,"depth":14,"seconds":null},"seed":0,"paths":true}','done',1,NULL,NULL,NULL);
INSERT INTO "batches" VALUES(3,1,'training','{"problem":{"task":"quadratic","options":{},"problem":null,"initialize":null,"checkpoints":[],"label":null,"thresholds":null,"alpha":null},"plain":false,"target":0.0475,"steps":100000,"patience":5000,"seconds":null,"seed":0}','open',0,NULL,NULL,NULL);
INSERT INTO "batches" VALUES(4,1,'connecting','{"problem":{"task":"quadratic","options":{},"problem":null,"initialize":null,"checkpoints":[],"label":null,"thresholds":null,"alpha":null},"plain":false,"level":0.05,"method":{"name":"greedy","options":{"alpha":0.95,"t_star":"half"}},"certificate":"proved","limits":{"steps":100000,"patience":5000,"beads":1000,"depth":14,"seconds":null},"seed":0,"paths":true}','open',0,NULL,NULL,NULL);
CREATE TABLE cells (
	id INTEGER NOT NULL, 
	study INTEGER NOT NULL, 
	batch INTEGER NOT NULL, 
	task TEXT NOT NULL, 
	protocol TEXT NOT NULL, 
	threshold DOUBLE NOT NULL, 
	seed_a BIGINT NOT NULL, 
	seed_b BIGINT NOT NULL, 
	method TEXT NOT NULL, 
	definition TEXT NOT NULL, 
	network_a TEXT NOT NULL, 
	network_b TEXT NOT NULL, 
	outcome TEXT, 
	message TEXT, 
	certificate TEXT, 
	normalized_length DOUBLE, 
	beads INTEGER, 
	max_criterion_bound DOUBLE, 
	gradient_samples BIGINT, 
	criterion_samples BIGINT, 
	seconds DOUBLE, 
	record TEXT, 
	PRIMARY KEY (id), 
	UNIQUE (study, task, protocol, threshold, seed_a, seed_b, method), 
	FOREIGN KEY(study) REFERENCES studies (id), 
	FOREIGN KEY(batch) REFERENCES batches (id), 
	FOREIGN KEY(network_a) REFERENCES networks ("key"), 
	FOREIGN KEY(network_b) REFERENCES networks ("key")
);
INSERT INTO "cells" VALUES(1,1,2,'quadratic','strict',0.1,0,1,'greedy','55983d737691058d43faff33c5914c1955fa4b09c32871ae19f9121cb9bf381a','83386e877dee21558c37c58847d789bd93ab0e2b2a65545cd921872245827d1b','19df69d0833d37e0a8d5e79f22435babc20b739b80cbe4c5b7bac31a0ac2a615','connected','so it is','proved',1.25,3,0.09,1000000000000,20,0.5,'{"versions": {}}');
INSERT INTO "cells" VALUES(2,1,2,'quadratic','strict',0.1,2,3,'greedy','55983d737691058d43faff33c5914c1955fa4b09c32871ae19f9121cb9bf381a','9c2ea48ec694f33bace85d683a0ad0da0933c2ac2c478d7bb17f72a5778adeee','bf21646f4f9000cdb26fab6c8541583f9cd1aa8531ee35cc41f9091256e9099a','connected','so it is','proved',1.25,3,0.09,1000000000000,20,0.5,'{"versions": {}}');
INSERT INTO "cells" VALUES(3,1,4,'quadratic','strict',0.05,0,1,'greedy','0dfd24a4c80663cc8fa7379ca9fba550916b4cad2b193c2e0c4369c1232eda87','2010758d21e3208daeb8cad14e29eece82fda8e47a79eb7eb5a85699ebdfa3fd','bf944ec3d45755f445b945da9aa5e27ea4f2b106c3f01df7cd28f38a2404ac93',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "cells" VALUES(4,1,4,'quadratic','strict',0.05,2,3,'greedy','0dfd24a4c80663cc8fa7379ca9fba550916b4cad2b193c2e0c4369c1232eda87','a9d17a61ee9ceb32aa127c516350ecf2b6942489183be724ad7aa9e55f118734','5732dbab0c75c0c193b39018821d93d5c0589e8f887a5bff4c5cf5853f1ffb51',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE links (
	id INTEGER NOT NULL, 
	atlas INTEGER NOT NULL, 
	a INTEGER NOT NULL, 
	b INTEGER NOT NULL, 
	threshold DOUBLE NOT NULL, 
	level DOUBLE, 
	certificate TEXT NOT NULL, 
	outcome TEXT NOT NULL, 
	beads INTEGER NOT NULL, 
	normalized_length DOUBLE, 
	gradient_samples BIGINT NOT NULL, 
	criterion_samples BIGINT NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(atlas) REFERENCES atlases (id)
);
CREATE TABLE minima (
	atlas INTEGER NOT NULL, 
	number INTEGER NOT NULL, 
	seed BIGINT NOT NULL, 
	criterion DOUBLE NOT NULL, 
	PRIMARY KEY (atlas, number), 
	FOREIGN KEY(atlas) REFERENCES atlases (id)
);
CREATE TABLE needs (
	batch INTEGER NOT NULL, 
	needed INTEGER NOT NULL, 
	PRIMARY KEY (batch, needed), 
	FOREIGN KEY(batch) REFERENCES batches (id), 
	FOREIGN KEY(needed) REFERENCES batches (id)
);
INSERT INTO "needs" VALUES(2,1);
INSERT INTO "needs" VALUES(4,3);
CREATE TABLE networks (
	"key" TEXT NOT NULL, 
	batch INTEGER, 
	seed BIGINT NOT NULL, 
	trained INTEGER NOT NULL, 
	message TEXT, 
	criterion DOUBLE, 
	steps BIGINT, 
	gradient_samples BIGINT, 
	criterion_samples BIGINT, 
	seconds DOUBLE, 
	PRIMARY KEY ("key"), 
	FOREIGN KEY(batch) REFERENCES batches (id)
);
INSERT INTO "networks" VALUES('83386e877dee21558c37c58847d789bd93ab0e2b2a65545cd921872245827d1b',1,0,1,'',0.09,7,8,9,0.1);
INSERT INTO "networks" VALUES('19df69d0833d37e0a8d5e79f22435babc20b739b80cbe4c5b7bac31a0ac2a615',1,1,1,'',0.09,7,8,9,0.1);
INSERT INTO "networks" VALUES('9c2ea48ec694f33bace85d683a0ad0da0933c2ac2c478d7bb17f72a5778adeee',1,2,1,'',0.09,7,8,9,0.1);
INSERT INTO "networks" VALUES('bf21646f4f9000cdb26fab6c8541583f9cd1aa8531ee35cc41f9091256e9099a',1,3,1,'',0.09,7,8,9,0.1);
INSERT INTO "networks" VALUES('2010758d21e3208daeb8cad14e29eece82fda8e47a79eb7eb5a85699ebdfa3fd',3,0,0,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "networks" VALUES('bf944ec3d45755f445b945da9aa5e27ea4f2b106c3f01df7cd28f38a2404ac93',3,1,0,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "networks" VALUES('a9d17a61ee9ceb32aa127c516350ecf2b6942489183be724ad7aa9e55f118734',3,2,0,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "networks" VALUES('5732dbab0c75c0c193b39018821d93d5c0589e8f887a5bff4c5cf5853f1ffb51',3,3,0,NULL,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE studies (
	id INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	specification TEXT NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (name)
);
INSERT INTO "studies" VALUES(1,'figure1-quadratic','{"name":"figure1-quadratic","summary":"Figure 1, row 1 of Freeman & Bruna 2017: regression on a quadratic","problems":[{"task":"quadratic","options":{},"problem":null,"initialize":null,"checkpoints":[],"label":null,"thresholds":[0.1,0.05],"alpha":null}],"methods":[{"name":"greedy","options":{}}],"protocols":["strict"],"pairs":2,"networks":null,"seed":0,"certificate":null,"pool":null,"paths":true,"limits":{"steps":100000,"patience":5000,"beads":1000,"depth":14,"seconds":null}}');
CREATE TABLE thalweg_meta (
	schema_version INTEGER NOT NULL
);
INSERT INTO "thalweg_meta" VALUES(2);
CREATE INDEX batches_by_state ON batches (study, state);
CREATE INDEX cells_by_batch ON cells (batch);
CREATE INDEX links_by_atlas ON links (atlas);
COMMIT;
